//! Whether a server is ready, asked in its own protocol: an open port alone says little.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::ports::loopback;

const CONNECT: Duration = Duration::from_millis(300);
const REPLY: Duration = Duration::from_secs(2);

/// True when something accepts connections on `port`.
pub(crate) fn accepts(port: u16) -> bool {
    TcpStream::connect_timeout(&loopback(port), CONNECT).is_ok()
}

/// True when Postgres asks for a password. While it starts up or shuts down it answers with an error instead.
pub(crate) fn postgres(port: u16) -> bool {
    const PROTOCOL_3_0: i32 = 196_608;
    let parameters = b"user\0darkroom\0database\0darkroom\0\0";
    let mut message = Vec::new();
    let length = 8 + i32::try_from(parameters.len()).unwrap_or_default();
    message.extend(length.to_be_bytes());
    message.extend(PROTOCOL_3_0.to_be_bytes());
    message.extend(parameters);
    let mut reply = [0; 1];
    exchange(port, &message, &mut reply) && reply == *b"R"
}

/// True when RabbitMQ opens the AMQP 0-9-1 handshake, which it does when the node has booted.
pub(crate) fn amqp(port: u16) -> bool {
    const METHOD_FRAME: u8 = 1;
    let mut reply = [0; 1];
    exchange(port, b"AMQP\x00\x00\x09\x01", &mut reply) && reply == [METHOD_FRAME]
}

/// True when `GET path` is answered at all.
pub(crate) fn http_answers(port: u16, path: &str) -> bool {
    http_status(port, path).is_some()
}

/// True when `GET path` is answered with 200.
pub(crate) fn http_ok(port: u16, path: &str) -> bool {
    http_status(port, path) == Some(200)
}

fn http_status(port: u16, path: &str) -> Option<u16> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    // "HTTP/1.1 200"
    let mut reply = [0; 12];
    if !exchange(port, request.as_bytes(), &mut reply) {
        return None;
    }
    std::str::from_utf8(&reply[9..]).ok()?.parse().ok()
}

/// Sends `request` and fills `reply` with the beginning of the answer.
fn exchange(port: u16, request: &[u8], reply: &mut [u8]) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&loopback(port), CONNECT) else { return false };
    stream.set_read_timeout(Some(REPLY)).is_ok()
        && stream.set_write_timeout(Some(REPLY)).is_ok()
        && stream.write_all(request).is_ok()
        && stream.read_exact(reply).is_ok()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    fn serve_once(answer: &'static [u8]) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(answer).unwrap();
        });
        port
    }

    #[test]
    fn http_status_decides() {
        assert!(http_ok(serve_once(b"HTTP/1.1 200 OK\r\n\r\n"), "/readyz"));
        assert!(!http_ok(serve_once(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"), "/readyz"));
        assert!(http_answers(serve_once(b"HTTP/1.1 403 Forbidden\r\n\r\n"), "/"));
    }

    #[test]
    fn postgres_that_starts_up_is_not_ready() {
        assert!(!postgres(serve_once(b"E\0\0\0\x10")));
        assert!(postgres(serve_once(b"R\0\0\0\x17")));
    }
}
