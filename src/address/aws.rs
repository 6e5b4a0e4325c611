//! Host names and regions of AWS S3.

/// `[bucket.]s3[.-]region.amazonaws.com`
pub(super) struct AwsHost<'a> {
    pub(super) bucket: Option<&'a str>,
    pub(super) region: Option<&'a str>,
}

impl<'a> AwsHost<'a> {
    pub(super) fn parse(host: &'a str) -> Option<Self> {
        let rest = host
            .strip_suffix(".amazonaws.com")
            .or_else(|| host.strip_suffix(".amazonaws.com.cn"))?;
        // Parsed from the end, because a bucket name may contain dots and even `s3`.
        let labels: Vec<&str> = rest.split('.').collect();
        for count in (1..=labels.len().min(3)).rev() {
            let service = &labels[labels.len() - count..];
            let region = match service {
                ["s3" | "s3-accelerate"] | ["s3-accelerate", "dualstack"] => None,
                ["s3" | "s3-fips", "dualstack", region] => Some(*region),
                ["s3" | "s3-fips", region] if *region != "dualstack" => Some(*region),
                // A legacy name of us-east-1.
                ["s3-external-1"] => Some("us-east-1"),
                [legacy] => match legacy.strip_prefix("s3-") {
                    Some(region) => Some(region.strip_prefix("fips-").unwrap_or(region)),
                    None => continue,
                },
                _ => continue,
            };
            // Excludes hosts such as "s3-website-eu-west-1".
            if region.is_some_and(|region| !is_region_label(region)) {
                return None;
            }
            let bucket_len: usize = labels[..labels.len() - count]
                .iter()
                .map(|label| label.len() + 1)
                .sum();
            return Some(Self {
                bucket: (bucket_len > 0).then(|| &rest[..bucket_len - 1]),
                region,
            });
        }
        None
    }
}

/// Whether a host belongs to AWS.
pub(super) fn is_aws_host(host: &str) -> bool {
    ["amazonaws.com", "amazonaws.com.cn"].iter().any(|aws| {
        host.strip_suffix(aws)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

/// Whether a host of AWS serves directory buckets (S3 Express).
pub(super) fn is_express_host(host: &str) -> bool {
    is_aws_host(host) && host.split('.').any(|label| label.starts_with("s3express-"))
}

/// Whether a part of a host name can be a region, such as `eu-west-1` or the longer `us-gov-west-1`.
fn is_region_label(region: &str) -> bool {
    let parts: Vec<&str> = region.split('-').collect();
    let is_number = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit());
    is_region(region)
        && parts.len() >= 3
        && parts[0].len() == 2
        && parts.last().is_some_and(is_number)
}

/// Whether the text can be a region. It is checked because it becomes part of a host name.
#[must_use]
pub fn is_region(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    text.len() <= 32 && text.split('-').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn region_cannot_change_the_host() {
        for region in ["ca-central-1", "us-east-2", "us-gov-west-1", "auto"] {
            assert!(is_region(region), "{region}");
        }
        for region in [
            "",
            "us-east-1.evil.example/",
            "us-east-1#",
            "US",
            "a--b",
            "@h",
            "us-east-2:80",
        ] {
            assert!(!is_region(region), "{region}");
        }
    }
}
