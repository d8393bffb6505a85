use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use url::Url;

/// For a small answer.
const DEADLINE: Duration = Duration::from_secs(10);
const MOST: u64 = 16 << 20;
/// Between two looks at a node that drains.
const POLL: Duration = Duration::from_millis(250);

/// Status and JSON of a small request. What nodes of other versions may lack is asked so: a field that is not there is unknown.
pub async fn ask(url: &str, method: &str, path: &str) -> Result<(u16, Value), String> {
    let url = Url::parse(url).map_err(|error| error.to_string())?;
    let target = format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(80));
    let asked = timeout(DEADLINE, exchange(&target, method, path)).await;
    let answer = asked.map_err(|_| format!("{target} did not answer"))?.map_err(|error| format!("{target}: {error}"))?;
    parse(&answer).ok_or_else(|| format!("{target} answered what no node answers"))
}

/// In HTTP/1.0: nothing is kept open, and a body ends with its connection.
async fn exchange(target: &str, method: &str, path: &str) -> std::io::Result<Vec<u8>> {
    let mut socket = TcpStream::connect(target).await?;
    socket.write_all(format!("{method} {path} HTTP/1.0\r\nHost: {target}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    socket.take(MOST).read_to_end(&mut answer).await?;
    Ok(answer)
}

fn parse(answer: &[u8]) -> Option<(u16, Value)> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).unwrap_or_default()))
}

/// Asks a node to hand over what it owns, and waits for it; says what came of it.
pub async fn drain(url: &str, within: Duration) -> String {
    match ask(url, "POST", "/v1/drain").await {
        Ok((200..300, _)) => {}
        Ok((status, _)) => return format!("it does not know how to drain (status {status})"),
        Err(why) => return format!("it cannot be asked to drain: {why}"),
    }
    let deadline = Instant::now() + within;
    while Instant::now() < deadline {
        if let Ok((200, drain)) = ask(url, "GET", "/v1/drain").await
            && drain["state"] == "drained"
        {
            return "drained".to_owned();
        }
        sleep(POLL).await;
    }
    format!("not drained after {} s", within.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_status_and_its_json() {
        let answer = b"HTTP/1.0 200 OK\r\ncontent-length: 9\r\n\r\n{\"a\": 1}\n";
        assert_eq!(parse(answer), Some((200, serde_json::json!({ "a": 1 }))));
        assert_eq!(parse(b"HTTP/1.1 404 Not Found\r\n\r\n"), Some((404, Value::Null)));
        assert_eq!(parse(b"SSH-2.0"), None);
    }
}
