//! How the SDK's requests go over the network: through the one HTTP client, with its policy, limits and certificates.

use std::time::Duration;

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use url::Url;

use crate::fetch::FetchError;
use crate::fetch::complete_body::CompleteBody;
use crate::fetch::http::HttpFetcher;

/// There was no answer: the connector says why.
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
    FetchError::ProtocolError {
        host: host.to_owned(),
        reason: error.to_string(),
    }
}

/// Carries an error of ours through the SDK, which hands back only a reference.
#[derive(Debug, thiserror::Error)]
#[error("not sent")]
struct CarriedError(std::sync::Mutex<Option<FetchError>>);

impl CarriedError {
    fn take_error(&self, host: &str) -> FetchError {
        let mut error = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        error.take().unwrap_or_else(|| FetchError::ConnectFailed {
            host: host.to_owned(),
            reason: "not sent".to_owned(),
        })
    }
}

/// Sends the SDK's requests through our client.
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

/// Most bytes of a refusal that are looked at: the SDK would hold all of it in memory, and any server may be an endpoint.
const MAX_ERROR_BODY_BYTES: usize = 64 << 10;

/// What a refusal says, as far as it is of use; what comes before it breaks off or takes too long says enough.
async fn read_error_body(response: &mut reqwest::Response, timeout: Duration) -> Vec<u8> {
    let mut body = Vec::new();
    let read = async {
        while body.len() < MAX_ERROR_BODY_BYTES
            && let Ok(Some(chunk)) = response.chunk().await
        {
            body.extend_from_slice(&chunk);
        }
    };
    let _ = tokio::time::timeout(timeout, read).await;
    body.truncate(MAX_ERROR_BODY_BYTES);
    body
}

async fn send(fetcher: &HttpFetcher, request: HttpRequest) -> Result<HttpResponse, FetchError> {
    let malformed = |reason: String| FetchError::ProtocolError {
        host: "S3".to_owned(),
        reason,
    };
    let url = Url::parse(request.uri()).map_err(|error| malformed(error.to_string()))?;
    let method = request
        .method()
        .parse()
        .map_err(|_| malformed("an odd method".to_owned()))?;
    let mut http_request = reqwest::Request::new(method, url.clone());
    for (name, value) in request.headers() {
        let name = reqwest::header::HeaderName::try_from(name)
            .map_err(|error| malformed(error.to_string()))?;
        let value = reqwest::header::HeaderValue::try_from(value)
            .map_err(|error| malformed(error.to_string()))?;
        http_request.headers_mut().append(name, value);
    }
    let mut response = fetcher.send(&url, http_request, &|| {}).await?;
    let status = response.status().as_u16();
    if matches!(status, 201..300) {
        // A part of a file, or none: nothing that was asked for.
        let host = url.host_str().unwrap_or_default().to_owned();
        return Err(FetchError::HttpStatus {
            host,
            status,
            retry_after: None,
        });
    }
    let status = StatusCode::try_from(response.status().as_u16())
        .map_err(|error| malformed(error.to_string()))?;
    let headers = response.headers().clone();
    let body = if response.status().is_success() {
        SdkBody::from_body_1_x(CompleteBody::new(response))
    } else {
        SdkBody::from(read_error_body(&mut response, fetcher.idle_timeout()).await)
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
