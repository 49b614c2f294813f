//! Google's Nearby Search, or a substitute. HTTP/1.0 suffices for one question.

use crate::command::{coordinates, fields};
use serde_json::{Value, json};
use std::error::Error;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(8);

/// The service to ask.
pub struct Places {
    /// `host:port`.
    host: String,
    key: String,
}

impl Places {
    /// `base`: `http://host:port`.
    pub fn new(base: &str, key: &str) -> Places {
        let host = base.strip_prefix("http://").unwrap_or(base).trim_end_matches('/');
        Places { host: host.to_owned(), key: key.to_owned() }
    }

    /// Finds up to `bound` places within `radius` kilometres of the client of the AT line `line`. If the service does
    /// not answer, returns an error in Google's form.
    pub async fn nearby(&self, line: &[u8], radius: &[u8], bound: usize) -> Value {
        match timeout(DEADLINE, self.ask(line, radius, bound)).await {
            Ok(Ok(found)) => found,
            _ => json!({
                "error_message": "The places provider did not answer sensibly.",
                "html_attributions": [],
                "results": [],
                "status": "UNKNOWN_ERROR",
            }),
        }
    }

    async fn ask(&self, line: &[u8], radius: &[u8], bound: usize) -> Result<Value, Box<dyn Error>> {
        let location =
            fields(line).nth(4).and_then(coordinates).ok_or("an AT line has a location")?;
        let [latitude, longitude] = [str::from_utf8(location.0)?, str::from_utf8(location.1)?];
        let metres = str::from_utf8(radius)?.parse::<f64>()? * 1_000.0;
        let path = format!(
            "/maps/api/place/nearbysearch/json?location={},{}&radius={metres}&key={}",
            latitude.trim_start_matches('+'),
            longitude.trim_start_matches('+'),
            self.key
        );
        let mut found: Value = serde_json::from_slice(&self.get(&path).await?)?;
        let results = found.get_mut("results").and_then(Value::as_array_mut);
        results.ok_or("a reply has results")?.truncate(bound);
        Ok(found)
    }

    async fn get(&self, path: &str) -> Result<Vec<u8>, Box<dyn Error>> {
        let mut stream = TcpStream::connect(&self.host).await?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.host);
        stream.write_all(request.as_bytes()).await?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await?;
        let body =
            reply.windows(4).position(|end| end == b"\r\n\r\n").ok_or("no end of the head")?;
        let status = reply.split(|&byte| byte == b' ').nth(1);
        (status == Some(b"200")).then_some(()).ok_or("no success")?;
        Ok(reply.split_off(body + 4))
    }
}
