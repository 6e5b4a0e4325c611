//! Closes connections that take too long to send a request. axum sets no time limits itself. Does not know what is served.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep};

/// Maximum time from one response, or from the start of the connection, to the next response.
const MAX_SILENCE: Duration = Duration::from_secs(30);

/// A listener whose connections have a time limit.
pub(super) struct LimitedListener(pub(super) TcpListener);

impl Listener for LimitedListener {
    type Io = LimitedConnection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        (LimitedConnection::new(stream), address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

/// A connection that fails if nothing is sent to the client for too long. Bytes from the client do not extend the limit, because a
/// client could send a request forever, one byte at a time.
pub(super) struct LimitedConnection {
    stream: TcpStream,
    limit: Pin<Box<Sleep>>,
}

impl LimitedConnection {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            limit: Box::pin(sleep(MAX_SILENCE)),
        }
    }

    /// An error instead of a pending operation if the time limit has passed; else the task is woken when it passes.
    fn or_expired<T>(
        &mut self,
        context: &mut Context<'_>,
        operation: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if operation.is_ready() {
            return operation;
        }
        ready!(self.limit.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for LimitedConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.or_expired(context, read)
    }
}

impl AsyncWrite for LimitedConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if matches!(written, Poll::Ready(Ok(_))) {
            self.limit.as_mut().reset(Instant::now() + MAX_SILENCE);
        }
        self.or_expired(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.or_expired(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut_down = Pin::new(&mut self.stream).poll_shutdown(context);
        self.or_expired(context, shut_down)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    // With a paused clock, a time limit ends as soon as nothing else can happen.
    #[tokio::test(start_paused = true)]
    async fn connection_without_request_is_closed() {
        let mut listener = LimitedListener(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let (mut connection, _) = Listener::accept(&mut listener).await;
        let started = Instant::now();
        connection.write_all(b"HTTP/1.1 100\r\n\r\n").await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let mut received = Vec::new();
        let error = connection.read_to_end(&mut received).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() >= MAX_SILENCE);
    }
}
