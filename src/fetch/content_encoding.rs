//! What a file is compressed with on its way (RFC 9110, 8.4).

use super::FetchError;

/// What a body may be compressed with. Where other words stand in their place, it is not compressed.
const KNOWN_ENCODINGS: [&str; 7] = [
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
pub(super) enum ContentEncoding {
    /// As it is.
    Identity,
    /// Out of gzip (RFC 1952).
    Gzip,
}

impl ContentEncoding {
    /// Understands the values of `Content-Encoding` that a host sends.
    ///
    /// # Errors
    /// [`FetchError::ProtocolError`] where it names what was not offered.
    pub(super) fn parse<'a>(
        values: impl Iterator<Item = &'a str>,
        host: &str,
    ) -> Result<Self, FetchError> {
        let words = values.flat_map(|value| value.split(','));
        let encodings: Vec<&str> = words
            .filter_map(|word| {
                let is_named = |name: &&&str| word.trim().eq_ignore_ascii_case(name);
                KNOWN_ENCODINGS.iter().find(is_named).copied()
            })
            .collect();
        match encodings[..] {
            [] => Ok(Self::Identity),
            ["gzip" | "x-gzip"] => Ok(Self::Gzip),
            _ => Err(FetchError::ProtocolError {
                host: host.to_owned(),
                reason: format!(
                    "it sends the file compressed as `{}`, which is not understood",
                    encodings.join(", ")
                ),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_encoding_values_are_parsed() {
        let parse = |values: &[&str]| ContentEncoding::parse(values.iter().copied(), "host").ok();
        for plain in [&[][..], &["identity"], &["utf-8"], &[""]] {
            assert_eq!(parse(plain), Some(ContentEncoding::Identity), "{plain:?}");
        }
        for gzip in [
            &["gzip"][..],
            &["GZIP"],
            &["x-gzip"],
            &["identity", "gzip "],
        ] {
            assert_eq!(parse(gzip), Some(ContentEncoding::Gzip), "{gzip:?}");
        }
        for other in [&["br"][..], &["gzip, gzip"], &["gzip", "deflate"]] {
            assert_eq!(parse(other), None, "{other:?}");
        }
    }
}
