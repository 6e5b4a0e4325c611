//! The commands that help after an error of the database layer, which does not know the commands.

use crate::import::ImportError;
use crate::store::StoreError;

/// The error and its causes in one line, followed by what to do if a command can help.
pub(super) fn message(error: &anyhow::Error) -> String {
    let store_error = error.chain().find_map(|cause| {
        let nested = match cause.downcast_ref::<ImportError>() {
            Some(ImportError::Store(nested)) => Some(nested),
            _ => None,
        };
        cause.downcast_ref::<StoreError>().or(nested)
    });
    match store_error.and_then(hint) {
        Some(hint) => format!("{error:#}; {hint}"),
        None => format!("{error:#}"),
    }
}

fn hint(error: &StoreError) -> Option<String> {
    Some(match error {
        StoreError::NotMigrated => "run `rosterd migrate`".to_owned(),
        StoreError::ImportDisabled => "enable them with `rosterd account enable`".to_owned(),
        StoreError::AccountNotFound(_) => "see `rosterd account list`".to_owned(),
        StoreError::RunNotFound(_) | StoreError::NotHeld { .. } => {
            "see `rosterd runs list`".to_owned()
        }
        StoreError::RunSuperseded { successor, .. } => {
            format!("inspect that one with `rosterd runs show {successor}`")
        }
        StoreError::UrlHasCredentials => {
            "enter them with `--username` and `--password-file`".to_owned()
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RunId;

    #[test]
    fn message_ends_with_hint_for_store_errors() {
        for error in [
            anyhow::Error::from(StoreError::NotMigrated),
            anyhow::Error::from(StoreError::NotMigrated).context("cannot start"),
            anyhow::Error::from(ImportError::Store(StoreError::NotMigrated)),
        ] {
            let message = message(&error);
            assert!(message.ends_with("; run `rosterd migrate`"), "{message}");
        }
        let superseded = StoreError::RunSuperseded {
            run: RunId(4),
            successor: RunId(5),
        };
        let message = message(&superseded.into());
        assert!(message.contains("`rosterd runs show 5`"), "{message}");
        assert_eq!(super::message(&anyhow::anyhow!("other")), "other");
    }
}
