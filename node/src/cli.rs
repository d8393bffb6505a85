use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use herring_http_api::client::{ApiClient, PeerConfig};
use herring_http_api::tls::ClientTls;

use crate::certs::CertsCommand;
use crate::commands::ClientCommand;
use crate::config::NodeSettings;
use crate::drill::DrillArgs;
use crate::error::Failure;
use crate::logging::LogFormat;
use crate::output::{Output, print};
use crate::token::{self, TokenCommand};
use crate::up::UpArgs;

/// A peer swarm for big immutable bytes.
///
/// Start with: herring up FILE…
#[derive(Debug, Parser)]
#[command(name = "herring", version, max_term_width = 120, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The node that client commands talk to
    #[arg(
        long,
        global = true,
        env = "HERRING_NODE",
        hide_env_values = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:7070"
    )]
    pub node: String,

    /// Authority of the node's certificate, in PEM, where its URL begins with https
    #[arg(long, global = true, env = "HERRING_CA", hide_env_values = true, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// File with the token that is shown to the node, which only its owner may read; else the token is taken from HERRING_TOKEN
    #[arg(long, global = true, env = "HERRING_TOKEN_FILE", hide_env_values = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Prints one JSON document instead of a table; errors stay text on stderr
    #[arg(long, global = true)]
    pub json: bool,

    /// How events are logged to stderr; RUST_LOG says which. A node's audits are among them unless it has audit=off
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs some nodes on this machine, to try it: each a process of its own, mounted, with the PATHs put in
    Up(UpArgs),
    /// Runs one node until SIGTERM or Ctrl-C
    Node(Box<NodeArgs>),
    /// Tries what the swarm promises, under load, while something happens to it
    Drill(DrillArgs),
    /// Makes the secrets of a swarm: its authority, its nodes' certificates, the key of its gossip
    #[command(subcommand)]
    Certs(CertsCommand),
    /// Makes tokens, which say what people and their programs may do at the nodes that know them
    #[command(subcommand)]
    Token(TokenCommand),
    #[command(flatten)]
    Client(ClientCommand),
    /// Prints completions for a shell, to be sourced or installed
    Completions { shell: Shell },
}

#[derive(Debug, Args)]
pub struct NodeArgs {
    /// TOML file of the settings below, a key for each flag without its dashes, a list where a flag may be repeated; flags win
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    #[command(flatten)]
    pub settings: NodeSettings,

    /// Stops when stdin ends
    #[arg(long, hide = true)]
    pub die_with_parent: bool,
}

impl Global {
    pub fn output(&self) -> Output {
        Output { json: self.json }
    }

    /// Asks the node that is named.
    pub fn client(&self) -> Result<ApiClient, Failure> {
        ApiClient::with_config(&self.node, &self.speech()?).map_err(Failure::usage)
    }

    /// How nodes are spoken to.
    pub fn speech(&self) -> Result<PeerConfig, Failure> {
        let tls = self.ca.as_deref().map(|ca| ClientTls::load(ca, None)).transpose().map_err(Failure::usage)?;
        let token = token::shown(self.token_file.as_deref())?;
        Ok(PeerConfig { tls, token, ..PeerConfig::patient() })
    }
}

impl Command {
    /// What is logged where `RUST_LOG` says nothing: a node's events are its only voice, a client has its output.
    pub fn log_level(&self) -> &'static str {
        match self {
            // chitchat tells of each datagram that is none, as many as come; what it tells of names that are not resolved is worth a line a minute.
            Self::Node(_) => "info,chitchat=error,chitchat::server=warn",
            _ => "warn",
        }
    }
}

impl Cli {
    /// The command line; `None` where it asked for help or the version, which are then printed.
    pub fn read() -> Result<Option<Self>, Failure> {
        Self::try_parse().map(Some).or_else(|error| match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => print(&error.render().to_string()).map(|()| None),
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                Err(Failure::usage(format_args!("a command is missing\n\n{}", error.render())))
            }
            _ => Err(Failure::usage(sentence(&error.render().to_string()))),
        })
    }
}

/// clap's message in one line: without its label and the usage, which `--help` shows better.
fn sentence(message: &str) -> String {
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let message = message.split("\n\nUsage:").next().unwrap_or_default().split("\n\nFor more").next().unwrap_or_default();
    let lines = message.lines().map(str::trim).filter(|line| !line.is_empty());
    format!("{} (herring --help shows more)", lines.collect::<Vec<_>>().join(" "))
}

pub fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "herring", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    fn complaint(line: &str) -> String {
        sentence(&parse(line).unwrap_err().render().to_string())
    }

    /// `docs/commands.md` is this definition, printed. `HERRING_WRITE_DOCS=1 cargo test -p herring` writes it anew.
    #[test]
    fn the_reference_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/commands.md");
        if std::env::var_os("HERRING_WRITE_DOCS").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        assert!(
            std::fs::read_to_string(path).unwrap() == reference(),
            "docs/commands.md is not what the program says: write it anew"
        );
    }

    fn reference() -> String {
        let mut page = "# Commands and settings\n\nGenerated from the program's own definition (`node/src/cli.rs`).\n".to_owned();
        let mut herring = Cli::command().term_width(100);
        herring.build();
        for command in herring.get_subcommands_mut().filter(|command| command.get_name() != "help") {
            let name = command.get_name().to_owned();
            page += &format!("\n## herring {name}\n\n```text\n{}```\n", command.render_long_help());
            for below in command.get_subcommands_mut().filter(|below| below.get_name() != "help") {
                let part = below.get_name().to_owned();
                page += &format!("\n### herring {name} {part}\n\n```text\n{}```\n", below.render_long_help());
            }
        }
        page
    }

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_node_takes_all_flags_of_the_contract() {
        let line = "herring node --config f --data-dir d --listen 127.0.0.1:1 --gossip 127.0.0.1:2 --seed a:1 --seed b:1 --mount m \
                    --replicas 3 --zone z --weight 5 --capacity 100GiB --origin a=file:///a --origin b=s3://b";
        let Command::Node(args) = parse(line).unwrap().command else { panic!("a node was asked for") };
        assert_eq!(args.settings.seed, ["a:1", "b:1"]);
        assert_eq!(args.settings.origin.len(), 2);
        assert_eq!(args.settings.capacity.unwrap().as_u64(), 100 << 30);
        assert_eq!(args.config.unwrap().as_os_str(), "f");
    }

    #[test]
    fn global_flags_may_stand_behind_the_command() {
        let cli = parse("herring status --node http://10.0.0.1:7070 --json").unwrap();
        assert_eq!(cli.global.node, "http://10.0.0.1:7070");
        assert!(cli.global.output().json);
    }

    #[test]
    fn a_wrong_line_is_told_in_one_sentence() {
        assert!(complaint("herring put").contains("<PATH>..."));
        assert!(complaint("herring explain abc").contains("64 hexadecimal digits"));
        assert!(complaint("herring node --listen here").contains("invalid socket address"));
        for line in ["herring node --capacity lots", "herring node --rebalance-rate lots", "herring drill kill --bytes lots"] {
            let told = complaint(line);
            let option = line.split(' ').nth_back(1).unwrap();
            assert!(told.contains(option) && told.contains("\"lots\" is no size: write it like 500GB"), "{told}");
        }
        assert!(complaint("herring up --nods 3").contains("--nodes"));
        for line in ["herring put", "herring explain abc", "herring up --nods 3", "herring node --listen here"] {
            assert!(!complaint(line).contains('\n'), "{}", complaint(line));
        }
    }

    #[test]
    fn completions_know_the_commands() {
        let script = completions(Shell::Bash);
        assert!(script.contains("explain") && script.contains("--gossip-advertise"));
    }
}
