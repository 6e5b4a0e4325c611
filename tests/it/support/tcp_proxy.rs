//! A TCP proxy that simulates a bad network and counts bytes, and servers with custom behavior.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Listens on a free port and passes each connection to `handle`. Returns the port and the number of connections.
pub fn fake_server(handle: impl Fn(TcpStream) + Send + 'static) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            count.fetch_add(1, Ordering::SeqCst);
            handle(stream);
        }
    });
    (port, connections)
}

/// What the proxy does after its byte limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterLimit {
    /// Forwards nothing more.
    Stall,
    /// Closes both connections.
    Disconnect,
    /// Forwards one byte every 50 ms.
    Trickle,
}

/// A proxy in front of a server.
pub struct TcpProxy {
    pub port: u16,
    pub connections: Arc<AtomicUsize>,
    /// Number of bytes received from the server.
    pub bytes: Arc<AtomicUsize>,
}

impl TcpProxy {
    /// Starts a proxy that forwards `limit` bytes of the server's data, then does `then`.
    pub fn start(server: SocketAddr, limit: usize, then: AfterLimit) -> Self {
        let bytes = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&bytes);
        let (port, connections) = fake_server(move |stream| {
            let upstream = TcpStream::connect(server).unwrap();
            let (mut from, mut to) = (stream.try_clone().unwrap(), upstream.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            let count = Arc::clone(&count);
            // Ends when either side closes.
            std::thread::spawn(move || forward(upstream, stream, limit, then, &count));
        });
        Self {
            port,
            connections,
            bytes,
        }
    }
}

fn forward(
    mut from: TcpStream,
    mut to: TcpStream,
    limit: usize,
    then: AfterLimit,
    count: &AtomicUsize,
) -> std::io::Result<()> {
    let (mut buffer, mut left) = (vec![0; 4096], limit);
    while let length @ 1.. = from.read(&mut buffer)? {
        count.fetch_add(length, Ordering::SeqCst);
        let within_limit = length.min(left);
        left -= within_limit;
        to.write_all(&buffer[..within_limit])?;
        match then {
            AfterLimit::Disconnect if left == 0 => return to.shutdown(Shutdown::Both),
            AfterLimit::Stall | AfterLimit::Disconnect => {}
            AfterLimit::Trickle => {
                for byte in &buffer[within_limit..length] {
                    std::thread::sleep(Duration::from_millis(50));
                    to.write_all(&[*byte])?;
                }
            }
        }
    }
    Ok(())
}
