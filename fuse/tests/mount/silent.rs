//! A bucket that tells of files but gives none of their bytes: whoever asks for more than a file's head waits.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// What the names of the files begin with.
pub const FILE: &str = "file";
const HEAD: &str =
    "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Length: 1048576\r\n\r\n";

/// Ends with the process.
pub struct Silent {
    address: SocketAddr,
    waiting: Arc<AtomicUsize>,
}

impl Silent {
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (address, waiting) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
        let counted = Arc::clone(&waiting);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let waiting = Arc::clone(&counted);
                thread::spawn(move || serve(stream, &waiting));
            }
        });
        Self { address, waiting }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests ever waited.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }
}

fn serve(mut stream: TcpStream, waiting: &AtomicUsize) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    while let Some(request) = lines.next() {
        lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
        if request.starts_with(&format!("HEAD /bucket/{FILE}")) {
            stream.write_all(HEAD.as_bytes()).unwrap();
        } else {
            waiting.fetch_add(1, Ordering::AcqRel);
        }
    }
}
