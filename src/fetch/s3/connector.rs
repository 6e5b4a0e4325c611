//! Sends the requests of the AWS SDK through the HTTP client of `fetch`, with its policy, limits and certificates. Does not interpret
//! S3 error codes.

use std::time::Duration;

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use url::Url;

use crate::fetch::complete_body::CompleteBody;
use crate::fetch::error::{FetchError, FetchErrorKind, FetchStage};
use crate::fetch::error_detail::{ConnectFault, ProtocolFault, ServerReply};
use crate::fetch::http::HttpFetcher;

/// The error for a request without a response. The connector has put the reason into the error of the SDK.
pub(super) fn dispatch_error(
    host: &str,
    error: &SdkError<GetObjectError, HttpResponse>,
) -> FetchError {
    if let SdkError::DispatchFailure(failure) = error
        && let Some(error) = failure.as_connector_error()
        && let Some(carried) =
            std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<CarriedError>())
    {
        return carried.take_error(host);
    }
    FetchErrorKind::ProtocolError {
        host: host.to_owned(),
        reason: ProtocolFault::Http(error.to_string()),
    }
    .at(FetchStage::Authenticate)
}

/// Carries a [`FetchError`] through the SDK, which returns only a reference to it.
#[derive(Debug, thiserror::Error)]
#[error("the request was not sent")]
struct CarriedError(std::sync::Mutex<Option<FetchError>>);

impl CarriedError {
    fn take_error(&self, host: &str) -> FetchError {
        let mut error = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        error.take().unwrap_or_else(|| {
            FetchErrorKind::ConnectFailed {
                host: host.to_owned(),
                reason: ConnectFault::NotSent,
            }
            .at(FetchStage::Connect)
        })
    }
}

/// The connector of the SDK.
#[derive(Debug)]
pub(super) struct Connector(pub(super) HttpFetcher);

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let fetcher = self.0.clone();
        HttpConnectorFuture::new(async move {
            send(&fetcher, request).await.map_err(|error| {
                ConnectorError::other(CarriedError(Some(error).into()).into(), None)
            })
        })
    }
}

/// Maximum size of a response other than an object to read. The SDK would keep all of it in memory, and anyone can run an endpoint.
const MAX_BUFFERED_BODY_BYTES: usize = 64 << 10;

/// Whether the response to this request is an object, which is read in parts. The SDK adds the name of the operation to the query.
pub(super) fn is_object_request(url: &Url) -> bool {
    url.query_pairs()
        .any(|(name, value)| name == "x-id" && value == "GetObject")
}

/// Reads the start of a response. If it is interrupted or takes longer than `timeout`, the part read so far is enough.
async fn read_start(response: &mut reqwest::Response, timeout: Duration) -> Vec<u8> {
    let mut body = Vec::new();
    let read = async {
        while body.len() < MAX_BUFFERED_BODY_BYTES
            && let Ok(Some(chunk)) = response.chunk().await
        {
            body.extend_from_slice(&chunk);
        }
    };
    let _ = tokio::time::timeout(timeout, read).await;
    body.truncate(MAX_BUFFERED_BODY_BYTES);
    body
}

async fn send(fetcher: &HttpFetcher, request: HttpRequest) -> Result<HttpResponse, FetchError> {
    let malformed = |reason: String| {
        FetchErrorKind::ProtocolError {
            host: "S3".to_owned(),
            reason: ProtocolFault::Http(reason),
        }
        .at(FetchStage::Authenticate)
    };
    let url = Url::parse(request.uri()).map_err(|error| malformed(error.to_string()))?;
    let method = request
        .method()
        .parse()
        .map_err(|_| malformed("invalid request method".to_owned()))?;
    let mut http_request = reqwest::Request::new(method, url.clone());
    for (name, value) in request.headers() {
        let name = reqwest::header::HeaderName::try_from(name)
            .map_err(|error| malformed(error.to_string()))?;
        let value = reqwest::header::HeaderValue::try_from(value)
            .map_err(|error| malformed(error.to_string()))?;
        http_request.headers_mut().append(name, value);
    }
    let mut response = fetcher.send(&url, http_request).await?;
    let status = response.status().as_u16();
    if matches!(status, 201..300) {
        // Part of a file or no content, which the SDK would treat as the file.
        let host = url.host_str().unwrap_or_default().to_owned();
        return Err(FetchErrorKind::HttpStatus {
            host,
            reply: ServerReply::Http(status),
            retry_after: None,
        }
        .at(FetchStage::Authenticate));
    }
    let status = StatusCode::try_from(response.status().as_u16())
        .map_err(|error| malformed(error.to_string()))?;
    let headers = response.headers().clone();
    let body = if response.status().is_success() && is_object_request(&url) {
        SdkBody::from_body_1_x(CompleteBody::new(response))
    } else {
        SdkBody::from(read_start(&mut response, fetcher.idle_timeout()).await)
    };
    let mut sdk_response = HttpResponse::new(status, body);
    for (name, value) in &headers {
        if let Ok(value) = value.to_str() {
            sdk_response
                .headers_mut()
                .append(name.as_str().to_owned(), value.to_owned());
        }
    }
    Ok(sdk_response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_object_requests_are_streamed() {
        let is_object = |url| is_object_request(&Url::parse(url).unwrap());
        assert!(is_object("https://h/sar/a.csv?x-id=GetObject"));
        assert!(!is_object("https://h/sar/a.csv"));
        assert!(!is_object("https://h/sar?session"));
        assert!(!is_object("https://h/sar?x-id=HeadBucket"));
    }

    #[tokio::test]
    async fn buffered_response_is_read_up_to_limit() {
        let status = StatusCode::try_from(200_u16).unwrap();
        let flood = HttpResponse::new(status, SdkBody::from(vec![b'x'; 1 << 20]));
        let flood = flood.try_into_http1x().unwrap();
        let mut response = flood.map(|body| body.bytes().unwrap().to_vec()).into();
        let start = read_start(&mut response, Duration::from_secs(1)).await;
        assert_eq!(start.len(), MAX_BUFFERED_BODY_BYTES);
    }
}
