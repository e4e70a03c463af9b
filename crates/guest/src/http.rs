//! The guest's HTTP answers on port 80: `GET /` (counters), `GET /check` (counters after checking everything), `GET /off`
//! (it shuts itself down).
//! One client at a time, one request per connection, no other method, no body is read.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use guest::limits::{HTTP_CLIENT, HTTP_REQUEST_BYTES};

use crate::power::power_off;
use crate::{Work, say};

const PORT: u16 = 80;

pub(crate) fn serve(work: &Work) {
    let listener = match TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)) {
        Ok(listener) => listener,
        Err(error) => return say(&format!("cannot listen on port {PORT}: {error}")),
    };
    say(&format!("serving on {}:{PORT}", work.settings.address));
    for stream in listener.incoming().flatten() {
        // A client that went away is the client's own matter.
        let _ = answer(work, &stream);
    }
}

fn answer(work: &Work, stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(HTTP_CLIENT))?;
    stream.set_write_timeout(Some(HTTP_CLIENT))?;
    let mut line = String::new();
    let mut head = BufReader::new(stream.take(HTTP_REQUEST_BYTES as u64));
    head.read_line(&mut line)?;
    loop {
        let mut rest = String::new();
        if head.read_line(&mut rest)? <= 2 {
            break;
        }
    }
    let status = match line.split(' ').nth(1) {
        Some("/") => Ok(work.status()),
        Some("/check") => work.check(),
        Some("/off") => {
            reply(stream, "202 Accepted", "{}")?;
            power_off(work)
        }
        Some(_) | None => return reply(stream, "404 Not Found", "{}"),
    };
    match status {
        Ok(status) => reply(stream, "200 OK", &serde_json::to_string(&status)?),
        Err(error) => {
            let body = serde_json::json!({ "error": error.to_string() });
            reply(stream, "500 Internal Server Error", &body.to_string())
        }
    }
}

fn reply(mut stream: &TcpStream, status: &str, body: &str) -> io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}\n",
        body.len() + 1
    )
}
