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
use crate::fetch::complete_body::Whole;
use crate::fetch::http::Web;

/// There was no answer: the connector says why.
pub(super) fn not_sent(host: &str, error: &SdkError<GetObjectError, HttpResponse>) -> FetchError {
    if let SdkError::DispatchFailure(failure) = error
        && let Some(error) = failure.as_connector_error()
        && let Some(refused) =
            std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<NotSent>())
    {
        return refused.take(host);
    }
    FetchError::ProtocolError {
        host: host.to_owned(),
        why: error.to_string(),
    }
}

/// Carries an error of ours through the SDK, which hands back only a reference.
#[derive(Debug, thiserror::Error)]
#[error("not sent")]
struct NotSent(std::sync::Mutex<Option<FetchError>>);

impl NotSent {
    fn take(&self, host: &str) -> FetchError {
        let mut error = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        error.take().unwrap_or_else(|| FetchError::ConnectFailed {
            host: host.to_owned(),
            why: "not sent".to_owned(),
        })
    }
}

/// Sends the SDK's requests through our client.
#[derive(Debug)]
pub(super) struct Connector(pub(super) Web);

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let web = self.0.clone();
        HttpConnectorFuture::new(async move {
            send(&web, request)
                .await
                .map_err(|error| ConnectorError::other(NotSent(Some(error).into()).into(), None))
        })
    }
}

/// Most bytes of a refusal that are looked at: the SDK would hold all of it in memory, and any server may be an endpoint.
const LONGEST_REFUSAL: usize = 64 << 10;

/// What a refusal says, as far as it is of use; what comes before it breaks off or takes too long says enough.
async fn beginning(response: &mut reqwest::Response, patience: Duration) -> Vec<u8> {
    let mut body = Vec::new();
    let listen = async {
        while body.len() < LONGEST_REFUSAL
            && let Ok(Some(piece)) = response.chunk().await
        {
            body.extend_from_slice(&piece);
        }
    };
    let _ = tokio::time::timeout(patience, listen).await;
    body.truncate(LONGEST_REFUSAL);
    body
}

async fn send(web: &Web, request: HttpRequest) -> Result<HttpResponse, FetchError> {
    let malformed = |why: String| FetchError::ProtocolError {
        host: "S3".to_owned(),
        why,
    };
    let url = Url::parse(request.uri()).map_err(|error| malformed(error.to_string()))?;
    let method = request
        .method()
        .parse()
        .map_err(|_| malformed("an odd method".to_owned()))?;
    let mut ours = reqwest::Request::new(method, url.clone());
    for (name, value) in request.headers() {
        let name = reqwest::header::HeaderName::try_from(name)
            .map_err(|error| malformed(error.to_string()))?;
        let value = reqwest::header::HeaderValue::try_from(value)
            .map_err(|error| malformed(error.to_string()))?;
        ours.headers_mut().append(name, value);
    }
    let mut response = web.send(&url, ours, &|| {}).await?;
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
        SdkBody::from_body_1_x(Whole::of(response))
    } else {
        SdkBody::from(beginning(&mut response, web.patience()).await)
    };
    let mut answer = HttpResponse::new(status, body);
    for (name, value) in &headers {
        if let Ok(value) = value.to_str() {
            answer
                .headers_mut()
                .append(name.as_str().to_owned(), value.to_owned());
        }
    }
    Ok(answer)
}
