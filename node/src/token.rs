//! Tokens as the command line makes, lists and removes them; and the one that it shows itself.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::{Args, Subcommand};
use herring_http_api::access::{Digest, Prefix, Scope, Token};
use herring_http_api::ttl::Ttl;
use humantime::format_rfc3339_seconds;
use serde_json::json;

use crate::error::{Failure, OrFail, tell};
use crate::output::{Output, Table};
use crate::owner;
use crate::tokens::{Entries, TokenEntry, entries};

/// The variable that holds the token that is shown; a flag for it would be seen by all who can run `ps`.
const TOKEN: &str = "HERRING_TOKEN";
/// Permissions with which others than the owner may read a file.
const OTHERS: u32 = 0o077;
/// Of a new file of tokens: it holds digests only, and nodes run as users of their own.
const PUBLIC: u32 = 0o644;

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Makes a token and prints it, once: only its digest is kept. Nodes that were given the file take it within five seconds
    New(NewArgs),
    /// Lists the tokens that there are, and what they may do
    Ls {
        #[command(flatten)]
        file: TokensFile,
    },
    /// Removes a token: within five seconds nodes that read this file refuse it; copies on other machines must be replaced too
    Rm {
        /// As it was made
        name: String,

        #[command(flatten)]
        file: TokensFile,
    },
}

#[derive(Debug, Args)]
pub struct NewArgs {
    /// What it is called, in lists and audits
    name: String,

    /// How much may be done with it: read, write or admin; each holds those before it
    #[arg(long, value_name = "SCOPE")]
    scope: Scope,

    /// Nothing but what is below this, such as names/team-a/, origins/models/llama/ or blobs/; may be repeated. Without a slash behind it, it
    /// is that one name, object or blob
    #[arg(long, value_name = "PREFIX")]
    only: Vec<Prefix>,

    /// How long it is good, such as 90d or 12h [default: until it is removed]
    #[arg(long, value_name = "TIME")]
    ttl: Option<Ttl>,

    /// Writes the token into this new file, which only its owner may read, instead of printing it: as --token-file takes it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    #[command(flatten)]
    file: TokensFile,
}

#[derive(Debug, Args)]
pub struct TokensFile {
    /// The file that nodes are given with --tokens; made where there is none
    #[arg(long = "file", value_name = "FILE", default_value = "herring-certs/tokens.toml")]
    path: PathBuf,
}

pub fn run(command: TokenCommand, output: Output) -> Result<(), Failure> {
    match command {
        TokenCommand::New(args) => new(&args, output),
        TokenCommand::Ls { file } => list(&file.path, output),
        TokenCommand::Rm { name, file } => {
            remove(&file.path, &name)?;
            tell(format_args!(
                "the token {name} is removed: nodes that read {} refuse it within five seconds; on other machines it stays good until their copies are \
                 replaced too",
                file.path.display()
            ));
            Ok(())
        }
    }
}

fn new(args: &NewArgs, output: Output) -> Result<(), Failure> {
    let (name, path) = (&args.name, args.file.path.display());
    if let Some(out) = &args.out {
        create_into(out, args)?;
        output.show(&json!({ "name": name, "out": out, "file": args.file.path }), || format!("{}\n", out.display()))?;
        tell(format_args!(
            "the token {name} is in {}, which only its owner may read: {path} keeps its digest alone",
            out.display()
        ));
    } else {
        let token = create(args)?;
        let told = json!({ "name": name, "token": token.reveal(), "file": args.file.path });
        output.show(&told, || format!("{}\n", token.reveal()))?;
        tell(format_args!("this is the token {name}, and it is not shown again: {path} keeps its digest alone"));
    }
    for one in args.only.iter().filter(|only| !only.is_open()) {
        tell(format_args!("--only {one} is that one alone: what is below it is {one}/"));
    }
    tell(format_args!(
        "nodes take it with --tokens {path}; herring's own commands show it from {TOKEN}, or from --token-file FILE"
    ));
    Ok(())
}

/// Lets there be an admin's token `name` that the file of `tokens` knows, kept in `kept`: made anew where what is there does not belong together.
pub fn provide(name: &str, tokens: &Path, kept: &Path) -> Result<(), Failure> {
    let known =
        |token: Token| crate::tokens::load(tokens).is_ok_and(|all| all.now().find(token.reveal(), SystemTime::now()).is_ok());
    if of_file(kept).is_ok_and(known) {
        return Ok(());
    }
    let told = || kept.display().to_string();
    if read(tokens)?.contains_key(name) {
        remove(tokens, name)?;
    }
    let file = TokensFile { path: tokens.to_owned() };
    let token = create(&NewArgs { name: name.to_owned(), scope: Scope::Admin, only: Vec::new(), ttl: None, out: None, file })?;
    let dir = kept.parent().unwrap_or(Path::new("."));
    let mut draft = tempfile::Builder::new().permissions(Permissions::from_mode(0o600)).tempfile_in(dir).or_fail(told)?;
    writeln!(draft, "{}", token.reveal()).or_fail(told)?;
    draft.persist(kept).or_fail(told).map(drop)
}

/// A new token, known to the file, and in a new one of its own; or neither.
fn create_into(out: &Path, args: &NewArgs) -> Result<(), Failure> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(out).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            Failure::failed(format_args!("--out {} is there already and stays as it is: name another", out.display()))
        }
        _ => Failure::failed(format_args!("--out {} cannot be written: {error}", out.display())),
    })?;
    let told = || format!("--out {}", out.display());
    let written = create(args).and_then(|token| {
        let written = writeln!(file, "{}", token.reveal()).and_then(|()| file.sync_all()).or_fail(told);
        // Nobody would have it.
        written.inspect_err(|_| _ = remove(&args.file.path, &args.name))
    });
    written.inspect_err(|_| _ = std::fs::remove_file(out))
}

/// A new token, known to the file.
fn create(args: &NewArgs) -> Result<Token, Failure> {
    let (token, now) = (Token::generate().or_fail(|| "cannot make a token".to_owned())?, SystemTime::now());
    let entry = TokenEntry {
        sha256: Digest::of(token.reveal()).0.iter().map(|byte| format!("{byte:02x}")).collect(),
        scope: args.scope.to_string(),
        only: (!args.only.is_empty()).then(|| args.only.iter().map(ToString::to_string).collect()),
        created: Some(format_rfc3339_seconds(now).to_string()),
        expires: args.ttl.map(|Ttl(ttl)| format_rfc3339_seconds(now + ttl).to_string()),
    };
    entry.grant(&args.name).map_err(Failure::usage)?;
    change(&args.file.path, |tokens| {
        if tokens.contains_key(&args.name) {
            let told =
                format_args!("there is a token {} already: name the new one otherwise, or remove that one first", args.name)
                    .to_string();
            return Err(Failure::failed(told));
        }
        tokens.insert(args.name.clone(), entry);
        Ok(())
    })?;
    Ok(token)
}

fn remove(path: &Path, name: &str) -> Result<(), Failure> {
    change(path, |tokens| {
        let known = || tokens.keys().cloned().collect::<Vec<_>>().join(", ");
        let missing = || Failure::failed(format_args!("there is no token {name:?} in {}; there is: {}", path.display(), known()));
        tokens.contains_key(name).then_some(()).ok_or_else(missing)?;
        tokens.remove(name);
        Ok(())
    })
}

/// Writes the file anew, as a whole or not at all; who changes it at the same time waits.
fn change(path: &Path, change: impl FnOnce(&mut Entries) -> Result<(), Failure>) -> Result<(), Failure> {
    let told = || path.display().to_string();
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(dir).or_fail(told)?;
    let turn = File::open(dir).or_fail(told)?;
    turn.lock().or_fail(told)?;
    let mut tokens = read(path)?;
    change(&mut tokens)?;
    let text = toml::to_string(&tokens).or_fail(told)?;
    let mut draft =
        tempfile::Builder::new().prefix(".tokens").permissions(Permissions::from_mode(0o600)).tempfile_in(dir).or_fail(told)?;
    draft.write_all(text.as_bytes()).or_fail(told)?;
    owner::follow(path, draft.as_file(), PUBLIC)?;
    draft.as_file().sync_all().or_fail(told)?;
    draft.persist(path).or_fail(told)?;
    turn.sync_all().or_fail(told)
}

fn read(path: &Path) -> Result<Entries, Failure> {
    let tokens = entries(path).map_err(|why| Failure::failed(format_args!("{}: {why}", path.display())))?;
    Ok(tokens.unwrap_or_default())
}

fn list(path: &Path, output: Output) -> Result<(), Failure> {
    let (tokens, now) = (read(path)?, SystemTime::now());
    output.show(&tokens, || {
        let mut table = Table::new(&["NAME", "SCOPE", "ONLY", "CREATED", "EXPIRES"], &[]);
        for (name, token) in &tokens {
            let expired = token.grant(name).is_ok_and(|grant| grant.has_expired(now));
            let expires = token.expires.as_deref().unwrap_or("never");
            let only = token.only.as_ref().map_or_else(|| "everything".to_owned(), |only| only.join(" "));
            let created = token.created.clone().unwrap_or_default();
            table.row([
                name.clone(),
                token.scope.clone(),
                only,
                created,
                format!("{expires}{}", if expired { " (over)" } else { "" }),
            ]);
        }
        table.render()
    })
}

/// The token that is shown to a node: from the file, else from the environment.
pub fn shown(file: Option<&Path>) -> Result<Option<Token>, Failure> {
    if let Some(path) = file {
        return of_file(path).map(Some).map_err(|why| Failure::usage(format_args!("--token-file {}: {why}", path.display())));
    }
    match std::env::var(TOKEN) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => text.trim().parse().map(Some).map_err(|why| Failure::usage(format_args!("{TOKEN}: {why}"))),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(Failure::usage(format_args!("{TOKEN}: it is no token: it is no text"))),
    }
}

fn of_file(path: &Path) -> Result<Token, String> {
    let (meta, text) = std::fs::metadata(path)
        .and_then(|meta| Ok((meta, std::fs::read_to_string(path)?)))
        .map_err(|error| format!("cannot be read: {error}"))?;
    if meta.mode() & OTHERS != 0 {
        return Err(format!("others may read it (mode {:03o}): chmod 600 it", meta.mode() & 0o777));
    }
    text.trim().parse().map_err(|why| format!("{why}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parse(line: &str) -> Result<TokenCommand, clap::Error> {
        Cli::try_parse_from(line.split(' ')).map(|cli| match cli.command {
            Command::Token(command) => command,
            other => panic!("{other:?}"),
        })
    }

    fn create_by(line: &str, path: &Path) -> Result<Token, Failure> {
        let TokenCommand::New(mut args) = parse(line).unwrap() else { panic!("a token is to be made") };
        path.clone_into(&mut args.file.path);
        create(&args)
    }

    #[test]
    fn a_token_is_known_from_when_it_is_made_until_it_is_removed() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("certs/tokens.toml");
        let token = create_by("herring token new ci --scope write --only names/a/ --only blobs/ --ttl 90d", &path).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (PUBLIC, 0o700));
        assert!(!std::fs::read_to_string(&path).unwrap().contains(token.reveal()));
        let knows = |token: &Token| {
            crate::tokens::load(&path).unwrap().now().find(token.reveal(), SystemTime::now()).map(|found| found.scope())
        };
        assert_eq!(knows(&token), Ok(Scope::Write));
        let other = create_by("herring token new other --scope admin", &path).unwrap();
        assert!(knows(&token).is_ok() && knows(&other).is_ok());
        assert!(create_by("herring token new ci --scope read", &path).unwrap_err().to_string().contains("a token ci already"));
        remove(&path, "ci").unwrap();
        assert!(knows(&token).is_err() && knows(&other).is_ok());
        assert!(remove(&path, "ci").unwrap_err().to_string().contains("there is: other"));
    }

    /// Root changes what a node reads as a user of its own. The owner where the tests may give files away.
    #[test]
    fn a_file_that_is_changed_stays_whose_it_was() {
        use std::os::unix::fs::chown;
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("tokens.toml");
        let state = || std::fs::metadata(&path).map(|meta| (meta.uid(), meta.gid(), meta.mode() & 0o777)).unwrap();
        create_by("herring token new a --scope read", &path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let _ = chown(&path, Some(4711), Some(4712));
        let before = state();
        remove(&path, "a").unwrap();
        assert_eq!((state(), before.2), (before, 0o640));
    }

    #[test]
    fn a_token_goes_into_a_file_that_was_not_there() {
        let room = tempfile::tempdir().unwrap();
        let (path, out) = (room.path().join("tokens.toml"), room.path().join("ci.token"));
        let into = |name: &str| {
            let line = format!("herring token new {name} --scope read --out {}", out.display());
            let TokenCommand::New(mut args) = parse(&line).unwrap() else { panic!("a token is to be made") };
            path.clone_into(&mut args.file.path);
            create_into(args.out.as_deref().unwrap(), &args).map_err(|failure| failure.to_string())
        };
        into("ci").unwrap();
        let token = of_file(&out).expect("only its owner may read it");
        assert!(crate::tokens::load(&path).unwrap().now().find(token.reveal(), SystemTime::now()).is_ok());
        assert!(into("other").unwrap_err().contains("ci.token is there already"));
        std::fs::remove_file(&out).unwrap();
        assert!(into("ci").unwrap_err().contains("a token ci already") && !out.exists());
        assert_eq!(read(&path).unwrap().len(), 1);
    }

    #[test]
    fn those_made_at_once_are_all_kept() {
        let room = tempfile::tempdir().unwrap();
        let path = &room.path().join("tokens.toml");
        std::thread::scope(|scope| {
            for n in 0..8 {
                scope.spawn(move || create_by(&format!("herring token new t{n} --scope read"), path).unwrap());
            }
        });
        assert_eq!(read(path).unwrap().len(), 8);
    }

    #[test]
    fn what_cannot_be_is_told() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("tokens.toml");
        for (line, expected) in [
            ("herring token new a --scope root", "read, write or admin"),
            ("herring token new a --scope read --only team-a/", "begins with names/, origins/ or blobs/"),
            ("herring token new a --scope read --ttl soon", "is no time"),
        ] {
            assert!(parse(line).unwrap_err().to_string().contains(expected), "{line}");
        }
        let why = |line: &str| create_by(line, &path).unwrap_err().to_string();
        assert!(why("herring token new a/b --scope read").contains("no name for a token"));
        assert!(why("herring token new a --scope admin --only names/").contains("cannot be limited"));
        assert!(!path.exists());
        std::fs::write(&path, "broken").unwrap();
        assert!(why("herring token new a --scope read").contains("line 1"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "broken", "what cannot be read is not written over");
    }

    #[test]
    fn a_token_in_a_file_is_its_owners_alone() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("token");
        let token = Token::generate().unwrap();
        let write = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        };
        write(&format!("{}\n", token.reveal()), 0o644);
        assert!(shown(Some(&path)).unwrap_err().to_string().contains("chmod 600"));
        write(&format!("{}\n", token.reveal()), 0o600);
        assert_eq!(shown(Some(&path)).unwrap(), Some(token));
        write("my secret", 0o600);
        assert!(!shown(Some(&path)).unwrap_err().to_string().contains("my secret"));
    }
}
