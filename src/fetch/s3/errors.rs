//! What S3 means by an answer that is not the object.

use std::time::Duration;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::Bucket;
use super::connector::dispatch_error;
use crate::address::is_region;
use crate::fetch::FetchError;
use crate::fetch::http_date::parse_retry_after;

impl Bucket<'_> {
    /// Why the object with this key did not come.
    pub(super) fn classify_error(
        &self,
        key: &str,
        error: &SdkError<GetObjectError, HttpResponse>,
    ) -> FetchError {
        let host = self.host.clone();
        let Some(raw) = error.raw_response() else {
            return dispatch_error(&host, error);
        };
        let status = raw.status().as_u16();
        let body = raw
            .body()
            .bytes()
            .map(String::from_utf8_lossy)
            .unwrap_or_default();
        let code = error.code().unwrap_or_default();
        let object = || format!("s3://{}/{key}", self.address.bucket);
        let find_actual_region = || {
            let header = raw.headers().get("x-amz-bucket-region");
            header
                .map(str::to_owned)
                .or_else(|| Some(xml_element_text(&body, "Region")?.to_owned()))
                .filter(|region| is_region(region))
        };
        match (code, status) {
            ("InvalidAccessKeyId" | "NotSignedUp", _) => FetchError::S3UnknownKeyId(host),
            ("SignatureDoesNotMatch", _) => FetchError::S3WrongSecret(host),
            ("AuthorizationHeaderMalformed", _) if find_actual_region().is_none() => {
                FetchError::S3UnknownKeyId(host)
            }
            (_, 301 | 307) if code.is_empty() && find_actual_region().is_none() => {
                FetchError::HttpStatus {
                    host,
                    status,
                    retry_after: None,
                }
            }
            (
                "PermanentRedirect"
                | "TemporaryRedirect"
                | "AuthorizationHeaderMalformed"
                | "IllegalLocationConstraintException",
                _,
            )
            | (_, 301 | 307) => FetchError::S3WrongRegion {
                bucket: self.address.bucket.clone(),
                configured_region: self.region.to_owned(),
                actual_region: find_actual_region()
                    .filter(|actual_region| actual_region != self.region),
            },
            ("NoSuchBucket" | "InvalidBucketName", _) => {
                FetchError::S3NoBucket(self.address.bucket.clone())
            }
            ("InvalidObjectState", _) => FetchError::S3Archived(object()),
            ("RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture", _) => {
                FetchError::ClockSkew(host)
            }
            ("SlowDown" | "RequestLimitExceeded" | "Throttling" | "ThrottlingException", _)
            | (_, 429) => FetchError::RateLimited {
                host,
                retry_after: retry_after(raw),
            },
            ("NoSuchKey" | "NoSuchVersion", _) | (_, 404 | 410) => FetchError::NotFound(object()),
            ("RequestTimeout", _) => FetchError::TimedOut {
                host,
                reason: "no answer",
            },
            (_, 200..=299) => FetchError::ProtocolError {
                host,
                reason: "it sends the file with headers that can't be read".to_owned(),
            },
            (_, 401) => FetchError::Unauthorized(host),
            (_, 403) => FetchError::Forbidden(host),
            (_, 500..=599) => FetchError::ServerError {
                host,
                status,
                retry_after: retry_after(raw),
            },
            _ => FetchError::HttpStatus {
                host,
                status,
                retry_after: retry_after(raw),
            },
        }
    }
}

fn retry_after(raw: &HttpResponse) -> Option<Duration> {
    let headers = raw.headers();
    parse_retry_after(headers.get("retry-after")?, headers.get("date"))
}

/// Text of the first such element in one of S3's answers.
fn xml_element_text<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    Some(rest.split_once("</")?.0)
}
