//! The `Content-Encoding` header (RFC 9110, 8.4). Decompression is in `download`.

use super::error::FetchErrorKind;
use super::error_detail::ProtocolFault;

/// Known encodings. Other values, such as `identity` or `utf-8`, mean that the body is not compressed.
const KNOWN_ENCODINGS: [&str; 7] = [
    "gzip",
    "x-gzip",
    "br",
    "deflate",
    "zstd",
    "compress",
    "x-compress",
];

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentEncoding {
    /// Not compressed.
    Identity,
    /// gzip (RFC 1952), also in several members.
    Gzip,
}

impl ContentEncoding {
    /// Parses the values of `Content-Encoding` that `host` sent.
    ///
    /// # Errors
    /// [`FetchErrorKind::ProtocolError`] for an encoding other than gzip, which is the only one that requests accept.
    pub(super) fn parse<'a>(
        values: impl Iterator<Item = &'a str>,
        host: &str,
    ) -> Result<Self, FetchErrorKind> {
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
            _ => Err(FetchErrorKind::ProtocolError {
                host: host.to_owned(),
                reason: ProtocolFault::UnsupportedEncoding(encodings.join(", ")),
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
