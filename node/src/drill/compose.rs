use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use herring_http_api::client::PeerConfig;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use super::hands::{Hands, cannot};
use super::scenario::Scenario;
use super::site::At;
use crate::config::PORT;
use crate::error::{Failure, OrFail};

/// A container gets 40 s for its orderly stop, and is made anew within seconds.
const DEADLINE: Duration = Duration::from_secs(120);
/// Where the image has a node's data.
const DATA: &str = "/var/lib/herring";

/// The swarm of a docker compose project: each service whose API is published is a node.
pub struct Compose {
    file: PathBuf,
    services: Vec<String>,
    nodes: Vec<At>,
    away: Vec<usize>,
    paused: Vec<usize>,
}

/// What docker compose is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Config,
    Port,
    Kill,
    Stop,
    Start,
    Pause,
    Unpause,
    Wipe,
}

impl Order {
    /// Behind `docker`.
    fn words(self, file: &str, service: &str) -> Vec<String> {
        let port = PORT.to_string();
        let what: &[&str] = match self {
            Self::Config => &["config", "--format", "json"],
            Self::Port => &["port", service, &port],
            Self::Kill => &["kill", "--signal", "SIGKILL", service],
            Self::Stop => &["stop", service],
            Self::Start => &["start", service],
            Self::Pause => &["pause", service],
            Self::Unpause => &["unpause", service],
            // The image has no server beside the node, so another container of the service empties its volume.
            Self::Wipe => &["run", "--rm", "--no-deps", "--entrypoint", "find", service, DATA, "-mindepth", "1", "-delete"],
        };
        ["compose", "--file", file].iter().chain(what).map(ToString::to_string).collect()
    }
}

impl Compose {
    /// `speech`: how its nodes are spoken to.
    pub async fn find(file: PathBuf, speech: PeerConfig) -> Result<Self, Failure> {
        let mut compose = Self { file, services: Vec::new(), nodes: Vec::new(), away: Vec::new(), paused: Vec::new() };
        compose.services = nodes(&compose.order(Order::Config, "").await?);
        if compose.services.is_empty() {
            return Err(Failure::failed(format_args!("{} publishes port {PORT} of no service", compose.file.display())));
        }
        for service in compose.services.clone() {
            let port = compose.order(Order::Port, &service).await?;
            let url = url(&port, speech.tls.is_some()).ok_or_else(|| {
                Failure::failed(format_args!("docker compose publishes no port {PORT} of {service}: add it to its ports"))
            })?;
            compose.nodes.push(At::new(url, speech.clone()));
        }
        Ok(compose)
    }

    async fn order(&self, order: Order, service: &str) -> Result<String, Failure> {
        let words = order.words(&self.file.to_string_lossy(), service);
        let line = format!("docker {}", words.join(" "));
        let needs = || format!("{line} (this needs docker compose)");
        let mut command = Command::new("docker");
        let run = command.args(&words).stdin(Stdio::null()).kill_on_drop(true).output();
        let output: Output = timeout(DEADLINE, run).await.or_fail(needs)?.or_fail(needs)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(Failure::failed(format_args!("{}: {}", needs(), String::from_utf8_lossy(&output.stderr).trim())))
    }

    async fn at(&self, order: Order, node: usize) -> Result<(), Failure> {
        self.order(order, &self.services[node]).await.map(drop)
    }
}

/// Of what `docker compose config` prints, the services whose API is published: others, which prepare something, are no nodes.
fn nodes(config: &str) -> Vec<String> {
    let config: Value = serde_json::from_str(config).unwrap_or_default();
    let publishes =
        |service: &Value| service["ports"].as_array().is_some_and(|all| all.iter().any(|port| port["target"] == PORT));
    let services = config["services"].as_object().into_iter().flatten();
    let mut nodes: Vec<String> = services.filter(|(_, service)| publishes(service)).map(|(name, _)| name.clone()).collect();
    nodes.sort_unstable();
    nodes
}

/// Of what `docker compose port` prints, an address such as `0.0.0.0:7080`.
fn url(port: &str, tls: bool) -> Option<String> {
    let (host, port) = port.trim().rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0))?;
    let host = if matches!(host, "0.0.0.0" | "[::]") { "127.0.0.1" } else { host };
    let scheme = if tls { "https" } else { "http" };
    Some(format!("{scheme}://{host}:{port}"))
}

#[async_trait]
impl Hands for Compose {
    fn nodes(&self) -> Result<Vec<At>, Failure> {
        Ok(self.nodes.clone())
    }

    fn logs(&self) -> Vec<String> {
        vec![format!("docker compose --file {} logs", self.file.display())]
    }

    fn check(&self, scenario: Scenario) -> Result<(), Failure> {
        match scenario {
            Scenario::Join => Err(cannot("make a node join")),
            Scenario::Partition => Err(cannot("cut nodes off")),
            _ => Ok(()),
        }
    }

    async fn kill(&mut self, node: usize) -> Result<(), Failure> {
        self.away.push(node);
        self.at(Order::Kill, node).await
    }

    async fn stop(&mut self, node: usize) -> Result<(), Failure> {
        self.away.push(node);
        self.at(Order::Stop, node).await
    }

    async fn start(&mut self, node: usize) -> Result<(), Failure> {
        self.away.retain(|away| *away != node);
        self.at(Order::Start, node).await
    }

    async fn pause(&mut self, node: usize) -> Result<(), Failure> {
        self.paused.push(node);
        self.at(Order::Pause, node).await
    }

    async fn resume(&mut self, node: usize) -> Result<(), Failure> {
        self.paused.retain(|paused| *paused != node);
        self.at(Order::Unpause, node).await
    }

    async fn wipe(&mut self, node: usize) -> Result<(), Failure> {
        self.at(Order::Wipe, node).await
    }

    async fn join(&mut self) -> Result<(), Failure> {
        Err(cannot("make a node join"))
    }

    fn borrowed(&self) -> bool {
        true
    }

    async fn end(&mut self, _: bool) -> Option<PathBuf> {
        for node in std::mem::take(&mut self.paused) {
            let _ = self.at(Order::Unpause, node).await;
        }
        for node in std::mem::take(&mut self.away) {
            let _ = self.at(Order::Start, node).await;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_compose_is_told_what_is_meant() {
        let line = |order: Order| order.words("a b.yml", "n2").join("|");
        let lines = [
            (Order::Config, "config|--format|json"),
            (Order::Port, "port|n2|7070"),
            (Order::Kill, "kill|--signal|SIGKILL|n2"),
            (Order::Stop, "stop|n2"),
            (Order::Start, "start|n2"),
            (Order::Pause, "pause|n2"),
            (Order::Unpause, "unpause|n2"),
            (Order::Wipe, "run|--rm|--no-deps|--entrypoint|find|n2|/var/lib/herring|-mindepth|1|-delete"),
        ];
        for (order, words) in lines {
            assert_eq!(line(order), format!("compose|--file|a b.yml|{words}"));
        }
    }

    #[test]
    fn a_published_port_is_an_url() {
        assert_eq!(url("127.0.0.1:7080\n", false).unwrap(), "http://127.0.0.1:7080");
        assert_eq!(url("0.0.0.0:7080", true).unwrap(), "https://127.0.0.1:7080");
        assert_eq!(url("[::]:7080", false).unwrap(), "http://127.0.0.1:7080");
        assert_eq!((url("", false), url(":0", false)), (None, None));
    }

    #[test]
    fn services_whose_api_is_published_are_nodes() {
        let config = r#"{"services": {
            "n2": {"ports": [{"mode": "ingress", "host_ip": "127.0.0.1", "target": 7070, "published": "7080", "protocol": "tcp"}]},
            "certs": {"command": null}, "other": {"ports": [{"target": 80}]}, "n1": {"ports": [{"target": 80}, {"target": 7070}]}}}"#;
        assert_eq!(nodes(config), ["n1", "n2"]);
        assert!(nodes("services:").is_empty());
    }
}
