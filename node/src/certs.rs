//! The secrets of a swarm: an authority, the certificates that it gives to nodes, and the key that gossip is sealed with.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use herring_gossip::ClusterKeys;
use herring_http_api::tls::{Card, can_be_named};
use herring_ring::NodeId;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::json;
use time::{Duration, OffsetDateTime};

use crate::error::{Failure, OrFail, tell};
use crate::output::Output;
use crate::owner;

const AUTHORITY: (&str, &str) = ("ca.pem", "ca.key");
const CLUSTER_KEY: &str = "cluster.key";
/// Clocks of machines that just started may be behind.
const BEFORE: Duration = Duration::hours(1);
/// Nobody but the owner.
const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;

#[derive(Debug, Subcommand)]
pub enum CertsCommand {
    /// Makes an authority of a swarm's own, and the key that its gossip is sealed with
    Init {
        /// Where they are kept: whoever can read ca.key can make nodes
        #[arg(long, value_name = "DIR", default_value = "herring-certs")]
        dir: PathBuf,

        /// For how many days the authority is good
        #[arg(long, value_name = "DAYS", default_value_t = 3650, value_parser = clap::value_parser!(u16).range(1..))]
        days: u16,

        /// Makes no key for gossip: for another authority of a swarm that has one, and keeps it
        #[arg(long)]
        authority_only: bool,
    },
    /// Makes a node's certificate and key, by the authority in the same directory
    Issue(IssueArgs),
}

#[derive(Debug, Args)]
pub struct IssueArgs {
    /// The node's name, as its --id
    #[arg(value_name = "NODE")]
    pub id: NodeId,
    /// IP address or host name under which people's programs reach the node, such as that of its --advertise; may be repeated. Nodes know each
    /// other by name
    #[arg(long, value_name = "HOST", required_unless_present = "renew")]
    pub address: Vec<String>,
    /// Where the authority is
    #[arg(long, value_name = "DIR", default_value = "herring-certs")]
    pub dir: PathBuf,
    /// Where all that the node needs is put, to be taken to its machine: also the authority's certificate, and the cluster's key where there is
    /// one beside the authority [default: beside the authority]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// For how many days the certificate is good
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u16).range(1..))]
    pub days: u16,
    /// Replaces the certificate and the key that are there, in --out where they were made with it, for the same addresses where none are said. A running
    /// node takes them within 5 s
    #[arg(long)]
    pub renew: bool,
}

/// What a node needs.
pub struct Issued {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub ca: PathBuf,
    /// `None`: there is none beside the authority.
    pub cluster_key: Option<PathBuf>,
}

pub fn run(command: &CertsCommand, output: Output) -> Result<(), Failure> {
    match command {
        CertsCommand::Init { dir, days, authority_only } => {
            let made = if *authority_only { found(dir, *days)?.to_vec() } else { init(dir, *days)?.to_vec() };
            let given: Vec<_> = made.iter().step_by(2).map(|path| path.display().to_string()).collect();
            let issue = format!("herring certs issue NODE --address HOST --dir {}", dir.display());
            show(output, &made, &format!("give each node {}, and make its certificate: {issue}", given.join(" and ")))
        }
        CertsCommand::Issue(args) => {
            let issued = issue(args)?;
            show(output, &issued.made(args), &issued.command(&args.id))?;
            tell(
                "the tokens of people and their programs are made with: herring token new NAME --scope SCOPE --file tokens.toml",
            );
            if issued.cluster_key.is_none() {
                tell("there is no cluster.key beside the authority: all nodes keep the one that they have, or have none");
            }
            Ok(())
        }
    }
}

impl Issued {
    /// What was written just now.
    fn made(&self, args: &IssueArgs) -> Vec<PathBuf> {
        let pair = [&self.cert, &self.key].into_iter();
        let others = args.out.iter().flat_map(|_| std::iter::once(&self.ca).chain(&self.cluster_key));
        pair.chain(others).cloned().collect()
    }

    /// How the node is told.
    fn command(&self, id: &NodeId) -> String {
        let [cert, key, ca] = [&self.cert, &self.key, &self.ca].map(|path| path.display());
        let gossip = self.cluster_key.as_ref().map(|path| format!(" --cluster-key {}", path.display())).unwrap_or_default();
        format!("herring node --id {id} --tls-cert {cert} --tls-key {key} --tls-ca {ca}{gossip} --tokens tokens.toml")
    }
}

fn show(output: Output, made: &[PathBuf], next: &str) -> Result<(), Failure> {
    let list = || made.iter().map(|path| format!("{}\n", path.display())).collect::<String>();
    output.show(&json!({ "made": made, "next": next }), || format!("{}{next}\n", list()))
}

/// The authority's certificate, its key, and the cluster's key.
pub fn init(dir: &Path, days: u16) -> Result<[PathBuf; 3], Failure> {
    let cluster_key = dir.join(CLUSTER_KEY);
    if cluster_key.exists() {
        return Err(is_there(&cluster_key));
    }
    let [certificate, key] = found(dir, days)?;
    write(&cluster_key, &ClusterKeys::generate(), SECRET)?;
    Ok([certificate, key, cluster_key])
}

/// The authority's certificate and its key alone.
fn found(dir: &Path, days: u16) -> Result<[PathBuf; 2], Failure> {
    make_dir(dir)?;
    let paths = [AUTHORITY.0, AUTHORITY.1].map(|name| dir.join(name));
    // Before anything is written: half an authority would be in the way of the next try.
    if let Some(there) = paths.iter().find(|path| path.exists()) {
        return Err(is_there(there));
    }
    let key = KeyPair::generate().or_fail(|| "cannot make a key".to_owned())?;
    let mut params = params("herring authority", days);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).or_fail(|| "cannot make an authority".to_owned())?;
    write(&paths[0], &certificate.pem(), PUBLIC)?;
    write(&paths[1], &key.serialize_pem(), SECRET)?;
    Ok(paths)
}

/// The node's certificate and its key, and where the rest is that it needs.
pub fn issue(args: &IssueArgs) -> Result<Issued, Failure> {
    let dir = args.out.as_deref().unwrap_or(&args.dir);
    let [cert, key] = ["pem", "key"].map(|end| dir.join(format!("{}.{end}", args.id)));
    if let Some(there) = [&cert, &key].into_iter().find(|path| path.exists()).filter(|_| !args.renew) {
        return Err(is_there(there));
    }
    let (names, authority) = (names(&args.id, &addresses(args, &cert)?)?, authority(&args.dir)?);
    make_dir(dir)?;
    let ca = dir.join(AUTHORITY.0);
    // Another authority of a swarm that goes on has none: the node keeps its own.
    let cluster_key = args.dir.join(CLUSTER_KEY).exists().then(|| dir.join(CLUSTER_KEY));
    if args.out.is_some() {
        copy(&args.dir.join(AUTHORITY.0), &ca, PUBLIC)?;
        cluster_key.iter().try_for_each(|to| copy(&args.dir.join(CLUSTER_KEY), to, SECRET))?;
    }
    let private = KeyPair::generate().or_fail(|| "cannot make a key".to_owned())?;
    let certificate = node(args, names).signed_by(&private, &authority).or_fail(|| "cannot make a certificate".to_owned())?;
    // A reader between the two sees a pair that does not match, and looks again.
    replace(&[(&key, &private.serialize_pem(), SECRET), (&cert, &certificate.pem(), PUBLIC)])?;
    Ok(Issued { cert, key, ca, cluster_key })
}

fn node(args: &IssueArgs, names: Vec<SanType>) -> CertificateParams {
    let mut params = params(args.id.as_str(), args.days);
    params.subject_alt_names = names;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Python's strict mode, its default since 3.13, refuses those without.
    params.use_authority_key_identifier_extension = true;
    params
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<(), Failure> {
    let text = std::fs::read_to_string(from).or_fail(|| format!("cannot read {}", from.display()))?;
    replace(&[(to, &text, mode)])
}

/// What is said, or what the certificate that is renewed was for.
fn addresses(args: &IssueArgs, cert: &Path) -> Result<Vec<String>, Failure> {
    if !args.address.is_empty() {
        return Ok(args.address.clone());
    }
    let again = if args.out.is_none() { "if it was made with --out DIR, give that again; else " } else { "" };
    let unknown = |why| Failure::usage(format_args!("{why}; {again}say with --address for which addresses the certificate is"));
    let card = Card::read(cert).map_err(unknown)?;
    let hosts = card.names().iter().filter(|name| **name != args.id.as_str()).cloned();
    Ok(hosts.chain(card.addresses().iter().map(IpAddr::to_string)).collect())
}

fn make_dir(dir: &Path) -> Result<(), Failure> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).or_fail(|| format!("cannot make {}", dir.display()))
}

fn params(name: &str, days: u16) -> CertificateParams {
    let (mut params, now) = (CertificateParams::default(), OffsetDateTime::now_utc());
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (now - BEFORE, now + Duration::days(days.into()));
    params
}

/// What the certificate is for: the node by its name, and its addresses.
fn names(id: &NodeId, addresses: &[String]) -> Result<Vec<SanType>, Failure> {
    if !can_be_named(id.as_str()) {
        return Err(Failure::usage(format_args!(
            "{id} cannot be a certificate's name, as it is no host's: call the node otherwise"
        )));
    }
    let dns = |name: &str| {
        let refuse = || Failure::usage(format_args!("{name:?} is no IP address and no host name"));
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        name.try_into().ok().filter(|_| is_name).map(SanType::DnsName).ok_or_else(refuse)
    };
    let address = |address: &String| address.parse::<IpAddr>().map_or_else(|_| dns(address), |ip| Ok(SanType::IpAddress(ip)));
    std::iter::once(dns(id.as_str())).chain(addresses.iter().map(address)).collect()
}

fn authority(dir: &Path) -> Result<Issuer<'static, KeyPair>, Failure> {
    let read = |name: &str| {
        let path = dir.join(name);
        std::fs::read_to_string(&path).map_err(|error| {
            Failure::failed(format_args!(
                "{} cannot be read: {error}; make an authority first: herring certs init --dir {}",
                path.display(),
                dir.display()
            ))
        })
    };
    let (certificate, key) = (read(AUTHORITY.0)?, read(AUTHORITY.1)?);
    let key = KeyPair::from_pem(&key).or_fail(|| format!("{} is no key", dir.join(AUTHORITY.1).display()))?;
    Issuer::from_ca_cert_pem(&certificate, key).or_fail(|| format!("{} is no authority", dir.join(AUTHORITY.0).display()))
}

/// Never over a file that is there.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let written = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => is_there(path),
        _ => Failure::failed(format_args!("{} cannot be written: {error}", path.display())),
    })
}

/// All of these, each whole or as it was, and still whose it was: written beside first, then renamed in this order.
fn replace(files: &[(&Path, &str, u32)]) -> Result<(), Failure> {
    let draft = |path: &Path| path.with_added_extension("new");
    for (path, text, mode) in files {
        // One that a crash left.
        let _ = std::fs::remove_file(draft(path));
        write(&draft(path), text, *mode)?;
        let follow = || owner::follow(path, &File::open(draft(path)).or_fail(|| path.display().to_string())?, *mode);
        follow().inspect_err(|_| _ = std::fs::remove_file(draft(path)))?;
    }
    for (path, ..) in files {
        std::fs::rename(draft(path), path).or_fail(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn is_there(path: &Path) -> Failure {
    Failure::failed(format_args!(
        "{} is there already and stays as it is: move it away first, or name another --dir",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use herring_http_api::tls::Identity;

    use super::*;

    fn args(dir: &Path, node: &str, address: &[&str]) -> IssueArgs {
        let address = address.iter().map(ToString::to_string).collect();
        IssueArgs { id: node.parse().unwrap(), address, dir: dir.to_owned(), out: None, days: 1, renew: false }
    }

    #[test]
    fn what_is_made_can_be_used_and_secrets_are_nobody_elses() {
        let room = tempfile::tempdir().unwrap();
        let dir = room.path().join("certs");
        let [ca, ca_key, cluster] = init(&dir, 2).unwrap();
        let Issued { cert, key, .. } = issue(&args(&dir, "n_1", &["10.0.0.7", "fd00::7", "node-1.example"])).unwrap();
        let identity = Identity::read(&cert, &key, &ca).unwrap();
        assert!(identity.card().is_for("n_1"));
        assert_eq!(identity.card().to_string(), "n_1, node-1.example, 10.0.0.7, fd00::7");
        crate::keys::load(&cluster).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!([&ca_key, &key, &cluster].map(|path| mode(path)), [SECRET; 3]);
        assert_eq!(mode(&dir), 0o700);
    }

    /// The global options have names of their own.
    #[test]
    fn the_command_is_understood() {
        use clap::Parser;
        let cli =
            crate::cli::Cli::try_parse_from(["herring", "certs", "issue", "n1", "--address", "::1", "--node", "http://n2:7070"]);
        assert_eq!(cli.unwrap().global.node, "http://n2:7070");
    }

    #[test]
    fn nothing_is_written_over() {
        let room = tempfile::tempdir().unwrap();
        init(room.path(), 2).unwrap();
        let before = std::fs::read(room.path().join("ca.key")).unwrap();
        assert!(init(room.path(), 2).unwrap_err().to_string().contains("is there already"));
        issue(&args(room.path(), "n1", &["10.0.0.7"])).unwrap();
        assert!(issue(&args(room.path(), "n1", &["10.0.0.8"])).err().unwrap().to_string().contains("n1.pem is there already"));
        assert_eq!(std::fs::read(room.path().join("ca.key")).unwrap(), before);
    }

    /// For the same addresses, by the same authority, in the same files.
    #[test]
    fn a_certificate_is_renewed_in_its_place() {
        let room = tempfile::tempdir().unwrap();
        init(room.path(), 2).unwrap();
        let renew = |address: &[&str]| IssueArgs { renew: true, ..args(room.path(), "n1", address) };
        let why = issue(&renew(&[])).err().unwrap().to_string();
        assert!(why.contains("made with --out DIR, give that again; else say with --address"), "{why}");
        let first = issue(&args(room.path(), "n1", &["10.0.0.7", "host.example"])).unwrap();
        let read = |made: &Issued| Identity::read(&made.cert, &made.key, &made.ca).unwrap();
        let before = read(&first);
        // A node's user's, where the tests may give files away; and not as a new one would be.
        let state = |path: &Path| std::fs::metadata(path).map(|meta| (meta.uid(), meta.gid(), meta.mode() & 0o777)).unwrap();
        for (path, mode) in [(&first.cert, 0o640), (&first.key, SECRET)] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
            let _ = std::os::unix::fs::chown(path, Some(4711), Some(4712));
        }
        let owned = [&first.cert, &first.key].map(|path| state(path));
        let second = issue(&renew(&[])).unwrap();
        assert_eq!(second.cert, first.cert);
        assert_eq!([&second.cert, &second.key].map(|path| state(path)), owned);
        assert_eq!(read(&second).card().to_string(), before.card().to_string());
        assert!(read(&second) != before);
        assert_eq!(read(&issue(&renew(&["10.0.0.8"])).unwrap()).card().to_string(), "n1, 10.0.0.8");
        assert_eq!(std::fs::read_dir(room.path()).unwrap().count(), 5, "no drafts are left");
        assert_eq!(std::fs::metadata(&first.key).unwrap().permissions().mode() & 0o777, SECRET);
    }

    /// All that it needs, and not what makes nodes.
    #[test]
    fn a_node_gets_a_directory_of_its_own() {
        let room = tempfile::tempdir().unwrap();
        let (authority, out) = (room.path().join("authority"), room.path().join("n1"));
        init(&authority, 2).unwrap();
        let args = IssueArgs { out: Some(out.clone()), ..args(&authority, "n1", &["10.0.0.7"]) };
        let made = issue(&args).unwrap();
        Identity::read(&made.cert, &made.key, &made.ca).unwrap();
        crate::keys::load(made.cluster_key.as_ref().unwrap()).unwrap();
        assert!(made.command(&args.id).ends_with("/n1/cluster.key --tokens tokens.toml"), "{}", made.command(&args.id));
        let mut names: Vec<_> = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["ca.pem", "cluster.key", "n1.key", "n1.pem"]);
    }

    /// A node that were given another key for gossip would be out of the swarm.
    #[test]
    fn another_authority_leaves_the_cluster_key_as_it_is() {
        let room = tempfile::tempdir().unwrap();
        let (first, second, out) = (room.path().join("first"), room.path().join("second"), room.path().join("n1"));
        let args = |dir: &Path, address: &[&str]| IssueArgs { out: Some(out.clone()), renew: true, ..args(dir, "n1", address) };
        init(&first, 2).unwrap();
        issue(&args(&first, &["10.0.0.7"])).unwrap();
        let key = || std::fs::read(out.join("cluster.key")).unwrap();
        let before = key();
        found(&second, 2).unwrap();
        assert_eq!(std::fs::read_dir(&second).unwrap().count(), 2);
        let made = issue(&args(&second, &[])).unwrap();
        Identity::read(&made.cert, &made.key, &made.ca).unwrap();
        assert_eq!((made.cluster_key.as_deref(), key()), (None, before));
        assert!(!made.command(&"n1".parse().unwrap()).contains("--cluster-key"));
    }

    #[test]
    fn what_cannot_be_made_says_why() {
        let room = tempfile::tempdir().unwrap();
        let why = |address: &[&str]| issue(&args(room.path(), "n1", address)).err().unwrap().to_string();
        assert!(why(&["10.0.0.7"]).contains("herring certs init"));
        init(room.path(), 2).unwrap();
        for wrong in ["", "10.0.0.7:7070", "http://x", "é"] {
            assert!(why(&[wrong]).contains("no IP address and no host name"), "{wrong}");
        }
        std::fs::write(room.path().join("ca.pem"), "no certificate").unwrap();
        assert!(why(&["10.0.0.7"]).contains("ca.pem is no authority"));
    }
}
