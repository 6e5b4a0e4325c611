//! Maps error responses of S3 to fetch errors.

use std::time::Duration;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::Bucket;
use super::connector::dispatch_error;
use crate::address::is_region;
use crate::fetch::error::{FetchError, FetchErrorKind, FetchStage};
use crate::fetch::error_detail::{ProtocolFault, ServerReply, TimeoutReason};
use crate::fetch::http_date::parse_retry_after;

impl Bucket<'_> {
    /// The error for a request for the object with this key.
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
        let reply = ServerReply::s3(status, code);
        let object = || format!("s3://{}/{key}", self.address.bucket);
        let find_actual_region = || {
            let header = raw.headers().get("x-amz-bucket-region");
            header
                .map(str::to_owned)
                .or_else(|| Some(xml_element_text(&body, "Region")?.to_owned()))
                .filter(|region| is_region(region))
        };
        let kind = match (code, status) {
            ("InvalidAccessKeyId" | "NotSignedUp", _) => {
                FetchErrorKind::S3UnknownKeyId { host, reply }
            }
            ("SignatureDoesNotMatch", _) => FetchErrorKind::S3WrongSecret { host, reply },
            ("AuthorizationHeaderMalformed", _) if find_actual_region().is_none() => {
                FetchErrorKind::S3UnknownKeyId { host, reply }
            }
            (_, 301 | 307) if code.is_empty() && find_actual_region().is_none() => {
                FetchErrorKind::HttpStatus {
                    host,
                    reply,
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
            | (_, 301 | 307) => self.wrong_region(find_actual_region()),
            ("NoSuchBucket" | "InvalidBucketName", _) => {
                FetchErrorKind::S3NoBucket(self.address.bucket.clone())
            }
            ("InvalidObjectState", _) => FetchErrorKind::S3Archived(object()),
            ("RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture", _) => {
                FetchErrorKind::ClockSkew { host, reply }
            }
            ("SlowDown" | "RequestLimitExceeded" | "Throttling" | "ThrottlingException", _)
            | (_, 429) => FetchErrorKind::RateLimited {
                host,
                reply,
                retry_after: retry_after(raw),
            },
            ("NoSuchKey" | "NoSuchVersion", _) | (_, 404 | 410) => {
                FetchErrorKind::NotFound(object())
            }
            ("RequestTimeout", _) => FetchErrorKind::TimedOut {
                host,
                reason: TimeoutReason::ReportedByServer(reply),
            },
            (_, 200..=299) => FetchErrorKind::ProtocolError {
                host,
                reason: ProtocolFault::InvalidHeaders,
            },
            (_, 401) => FetchErrorKind::Unauthorized { host, reply },
            (_, 403) => FetchErrorKind::Forbidden { host, reply },
            (_, 500..=599) => FetchErrorKind::ServerError {
                host,
                reply,
                retry_after: retry_after(raw),
            },
            _ => FetchErrorKind::HttpStatus {
                host,
                reply,
                retry_after: retry_after(raw),
            },
        };
        let stage = match kind {
            // These are about the object, so the server has accepted the signature.
            FetchErrorKind::S3NoBucket(_)
            | FetchErrorKind::S3Archived(_)
            | FetchErrorKind::NotFound(_)
            | FetchErrorKind::Forbidden { .. } => FetchStage::File,
            _ => FetchStage::Authenticate,
        };
        kind.at(stage)
    }

    fn wrong_region(&self, actual_region: Option<String>) -> FetchErrorKind {
        let bucket = self.address.bucket.clone();
        let configured_region = self.region.to_owned();
        match actual_region.filter(|actual_region| actual_region != self.region) {
            Some(actual_region) => FetchErrorKind::S3OtherRegion {
                bucket,
                configured_region,
                actual_region,
            },
            None => FetchErrorKind::S3WrongRegion {
                bucket,
                configured_region,
            },
        }
    }
}

fn retry_after(raw: &HttpResponse) -> Option<Duration> {
    let headers = raw.headers();
    parse_retry_after(headers.get("retry-after")?, headers.get("date"))
}

/// The text of the first element with this name.
fn xml_element_text<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    Some(rest.split_once("</")?.0)
}
