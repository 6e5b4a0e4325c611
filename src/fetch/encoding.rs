//! What a file is compressed with on its way (RFC 9110, 8.4).

use super::FetchError;

/// What a body may be compressed with. Where other words stand in their place, it is not compressed.
const COMPRESSIONS: [&str; 7] = [
    "gzip",
    "x-gzip",
    "br",
    "deflate",
    "zstd",
    "compress",
    "x-compress",
];

/// How a body has to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// As it is.
    Identity,
    /// Out of gzip (RFC 1952).
    Gzip,
}

impl Encoding {
    /// Understands the values of `Content-Encoding` that a host sends.
    ///
    /// # Errors
    /// [`FetchError::ProtocolError`] where it names what was not offered.
    pub(super) fn named<'a>(
        values: impl Iterator<Item = &'a str>,
        host: &str,
    ) -> Result<Self, FetchError> {
        let words = values.flat_map(|value| value.split(','));
        let compressions: Vec<&str> = words
            .filter_map(|word| {
                let is_named = |name: &&&str| word.trim().eq_ignore_ascii_case(name);
                COMPRESSIONS.iter().find(is_named).copied()
            })
            .collect();
        match compressions[..] {
            [] => Ok(Self::Identity),
            ["gzip" | "x-gzip"] => Ok(Self::Gzip),
            _ => Err(FetchError::ProtocolError {
                host: host.to_owned(),
                why: format!(
                    "it sends the file compressed as `{}`, which is not understood",
                    compressions.join(", ")
                ),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressions_are_known_by_their_names() {
        let named = |values: &[&str]| Encoding::named(values.iter().copied(), "host").ok();
        for plain in [&[][..], &["identity"], &["utf-8"], &[""]] {
            assert_eq!(named(plain), Some(Encoding::Identity), "{plain:?}");
        }
        for gzip in [
            &["gzip"][..],
            &["GZIP"],
            &["x-gzip"],
            &["identity", "gzip "],
        ] {
            assert_eq!(named(gzip), Some(Encoding::Gzip), "{gzip:?}");
        }
        for other in [&["br"][..], &["gzip, gzip"], &["gzip", "deflate"]] {
            assert_eq!(named(other), None, "{other:?}");
        }
    }
}
