//! Searches the chain of causes of an error. Does not depend on specific error types.

use std::error::Error as StdError;

/// An error and its causes, including those inside an `io::Error`, which `source` skips.
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn StdError + 'static)| {
        let error: &'a (dyn StdError + 'static) = *error;
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        inner
            .map(|inner| inner as &(dyn StdError + 'static))
            .or_else(|| error.source())
    })
}

/// The outermost cause of this type.
pub(super) fn find_cause<'a, E: StdError + 'static>(
    error: &'a (dyn StdError + 'static),
) -> Option<&'a E> {
    causes(error).find_map(|cause| cause.downcast_ref::<E>())
}

/// The message of the root cause, which is usually the most specific one.
pub(super) fn root_cause_message(error: &(dyn StdError + 'static)) -> String {
    let message = causes(error)
        .last()
        .map_or_else(String::new, ToString::to_string);
    // rustls appends links to its documentation.
    match message.split_once(": https://") {
        Some((message, _)) => message.to_owned(),
        None => message,
    }
}
