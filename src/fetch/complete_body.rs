//! A response body that reports truncation. Does not depend on what the body contains.

use std::error::Error as StdError;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use reqwest::{Response, Version};

/// The body of a response. The HTTP library treats an HTTP/2 stream that is reset with `NO_ERROR` as ended (RFC 9113, 8.1, intends
/// this for requests). Without a declared length, a truncated file would be taken for a complete one.
#[derive(Debug)]
pub(super) struct CompleteBody {
    body: reqwest::Body,
    /// Over HTTP/2, every body has an explicit end (`END_STREAM`).
    is_http2: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("the stream was reset before the body was complete")]
struct IncompleteBody;

impl CompleteBody {
    pub(super) fn new(response: Response) -> Self {
        Self {
            is_http2: response.version() == Version::HTTP_2,
            body: response.into(),
        }
    }

    /// The next bytes, or `None` after the last ones.
    pub(super) async fn next(
        &mut self,
    ) -> Option<Result<<Self as Body>::Data, <Self as Body>::Error>> {
        loop {
            let frame = std::future::poll_fn(|context| Pin::new(&mut *self).poll_frame(context));
            match frame.await?.map(Frame::into_data) {
                Ok(Ok(bytes)) => return Some(Ok(bytes)),
                // Trailers
                Ok(Err(_)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl Body for CompleteBody {
    type Data = <reqwest::Body as Body>::Data;
    type Error = Box<dyn StdError + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(match frame {
            None if self.is_http2 && !self.body.is_end_stream() => Some(Err(IncompleteBody.into())),
            other => other.map(|frame| frame.map_err(Into::into)),
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
