//! Ways to a server that are weak, or on which it is only counted what comes along.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A port where each connection is met by `meet`.
pub fn pretender(meet: impl Fn(TcpStream) + Send + 'static) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            count.fetch_add(1, Ordering::SeqCst);
            meet(stream);
        }
    });
    (port, connections)
}

/// What becomes of a way once so many bytes got through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Nothing more comes.
    Silence,
    /// It breaks.
    Break,
    /// A byte comes each 50 ms.
    Drip,
}

/// A weak way to a server.
pub struct Way {
    pub port: u16,
    pub connections: Arc<AtomicUsize>,
    /// Bytes that came from the server.
    pub bytes: Arc<AtomicUsize>,
}

impl Way {
    /// So many bytes of the server get through.
    pub fn to(server: SocketAddr, through: usize, then: Then) -> Self {
        let bytes = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&bytes);
        let (port, connections) = pretender(move |stream| {
            let upstream = TcpStream::connect(server).unwrap();
            let (mut from, mut to) = (stream.try_clone().unwrap(), upstream.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            let count = Arc::clone(&count);
            // Ends with either side.
            std::thread::spawn(move || carry(upstream, stream, through, then, &count));
        });
        Self {
            port,
            connections,
            bytes,
        }
    }
}

fn carry(
    mut from: TcpStream,
    mut to: TcpStream,
    through: usize,
    then: Then,
    count: &AtomicUsize,
) -> std::io::Result<()> {
    let (mut piece, mut left) = (vec![0; 4096], through);
    while let length @ 1.. = from.read(&mut piece)? {
        count.fetch_add(length, Ordering::SeqCst);
        let at_once = length.min(left);
        left -= at_once;
        to.write_all(&piece[..at_once])?;
        match then {
            Then::Break if left == 0 => return to.shutdown(Shutdown::Both),
            Then::Silence | Then::Break => {}
            Then::Drip => {
                for byte in &piece[at_once..length] {
                    std::thread::sleep(Duration::from_millis(50));
                    to.write_all(&[*byte])?;
                }
            }
        }
    }
    Ok(())
}
