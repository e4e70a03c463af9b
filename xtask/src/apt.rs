//! What is asked of apt, and the reading of its answers and of its sources. Installs only what
//! [`crate::setup`] says. No name of a package host stands here: a suite that must be added takes the address of
//! its mirror from the machine's own sources.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Where the added suite is written.
const ADDED_SOURCE: &str = "/etc/apt/sources.list.d/ferry-backports.sources";

/// What packages ask whether their services may be started (invoke-rc.d(8)); 101 is no.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const NO_SERVICES: &str =
    "#!/bin/sh\n# Made by `cargo xtask setup` for as long as it installs packages.\nexit 101\n";

/// Whether this machine has apt at all.
pub(crate) fn is_there() -> bool {
    Command::new("apt-get").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// `apt-get update`.
pub(crate) fn update() -> Result<()> {
    run(Command::new("apt-get").args(["update", "-q"]), "apt-get update")
}

/// Installs packages, from `suite` where one is named. Their services are not started.
pub(crate) fn install(packages: &[&str], suite: Option<&str>) -> Result<()> {
    let _policy = Policy::make(Path::new(POLICY))?;
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["install", "-q", "-y", "--no-install-recommends"]);
    if let Some(suite) = suite {
        command.args(["-t", suite]);
    }
    run(command.args(packages), "apt-get install")
}

/// Has services that a package brought not be started when this machine is. Where there is no systemd, nothing starts them;
/// says what it could not do.
pub(crate) fn disable(services: &[&str]) {
    for service in services {
        let Ok(output) = Command::new("systemctl").args(["disable", service]).output() else { return };
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            eprintln!("{service} may be started when this machine is: {}", said.trim());
        }
    }
}

/// Keeps services from being started until it is dropped. One that was there before stays, and decides.
struct Policy<'a> {
    made: Option<&'a Path>,
}

impl<'a> Policy<'a> {
    fn make(path: &'a Path) -> Result<Policy<'a>> {
        match fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(path) {
            Ok(mut file) => {
                file.write_all(NO_SERVICES.as_bytes()).with_context(|| path.display().to_string())?;
                Ok(Policy { made: Some(path) })
            }
            // Ours is left behind where setup was killed.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let is_ours = fs::read_to_string(path).is_ok_and(|text| text == NO_SERVICES);
                Ok(Policy { made: is_ours.then_some(path) })
            }
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }
}

impl Drop for Policy<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.made {
            // It may have been removed meanwhile.
            drop(fs::remove_file(path));
        }
    }
}

/// Downloads a package into a directory, with fresh package lists if the old ones point to nothing.
pub(crate) fn download(package: &str, into: &Path) -> Result<()> {
    let once = || {
        let mut command = Command::new("apt-get");
        // The directory may be closed to apt's own user.
        command.args(["download", "-q", "-o", "APT::Sandbox::User=root", package]).current_dir(into);
        run(&mut command, "apt-get download")
    };
    once().or_else(|_| update().and_then(|()| once()))
}

/// The names that a package directly depends on, in any alternative; that of `suite` where one is named.
pub(crate) fn depends(package: &str, suite: Option<&str>) -> Result<Vec<String>> {
    let mut command = Command::new("apt-cache");
    if let Some(suite) = suite {
        command.args(["-t", suite]);
    }
    let output = command.args(["depends", package]).output().context("apt-cache")?;
    Ok(depends_in(&String::from_utf8_lossy(&output.stdout)))
}

/// The version that apt would install now; `None` when it knows no such package.
pub(crate) fn candidate(package: &str) -> Result<Option<String>> {
    let output = Command::new("apt-cache")
        .env("LC_ALL", "C")
        .args(["policy", package])
        .output()
        .context("apt-cache")?;
    Ok(candidate_in(&String::from_utf8_lossy(&output.stdout)))
}

/// Makes sure that the `<codename>-backports` suite is among the sources; returns its name.
pub(crate) fn ensure_backports() -> Result<String> {
    let codename = codename()?;
    let suite = format!("{codename}-backports");
    let entries = all_entries()?;
    if entries.iter().any(|entry| entry.suites.contains(&suite)) {
        return Ok(suite);
    }
    fs::write(ADDED_SOURCE, origin(entries, &codename)?.with_suite(&suite)).context(ADDED_SOURCE)?;
    update()?;
    Ok(suite)
}

/// Sources for a root of this machine's own release and its backports, from this machine's mirror.
pub(crate) fn sources_of_release(codename: &str) -> Result<String> {
    let origin = origin(all_entries()?, codename)?;
    Ok(format!("{}\n{}", origin.with_suite(codename), origin.with_suite(&format!("{codename}-backports"))))
}

/// The name of this machine's Debian release.
pub(crate) fn codename() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("/etc/os-release")?;
    match (value(&release, "ID"), value(&release, "VERSION_CODENAME")) {
        (Some("debian"), Some(codename)) => Ok(codename.to_owned()),
        _ => bail!("this is not Debian: only Debian has a backports suite, in which a newer QEMU is"),
    }
}

fn all_entries() -> Result<Vec<Source>> {
    let mut found = Vec::new();
    for path in sources()? {
        found.extend(entries(&fs::read_to_string(&path).with_context(|| path.clone())?));
    }
    Ok(found)
}

fn origin(entries: Vec<Source>, codename: &str) -> Result<Source> {
    let named = |entry: &Source| entry.suites.iter().any(|suite| suite == codename);
    let found = entries.into_iter().find(named);
    found.with_context(|| format!("no apt source of this machine names the suite {codename}"))
}

fn run(command: &mut Command, name: &str) -> Result<()> {
    // Standard output belongs to whoever reads our own answer.
    let status = command.stdout(std::io::stderr()).status().with_context(|| name.to_owned())?;
    ensure!(status.success(), "{name} failed: {status}");
    Ok(())
}

fn sources() -> Result<Vec<String>> {
    let mut paths = Vec::new();
    let main = "/etc/apt/sources.list";
    if Path::new(main).exists() {
        paths.push(main.to_owned());
    }
    for entry in fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten() {
        let path = entry?.path().to_string_lossy().into_owned();
        if path.ends_with(".list") || path.ends_with(".sources") {
            paths.push(path);
        }
    }
    Ok(paths)
}

/// One place that binary packages come from.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    uri: String,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: Option<String>,
}

impl Source {
    /// The same place, another suite, in deb822 form.
    fn with_suite(&self, suite: &str) -> String {
        let signed = self.signed_by.iter().map(|key| format!("Signed-By: {key}\n")).collect::<String>();
        let components = self.components.join(" ");
        format!("Types: deb\nURIs: {}\nSuites: {suite}\nComponents: {components}\n{signed}", self.uri)
    }
}

/// The sources in a file of either form (sources.list(5)): one line each, or deb822 paragraphs.
fn entries(text: &str) -> Vec<Source> {
    let lines = text.lines().filter_map(one_line);
    lines.chain(text.split("\n\n").filter_map(paragraph)).collect()
}

fn one_line(line: &str) -> Option<Source> {
    let rest = line.trim().strip_prefix("deb ")?.trim();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace().map(str::to_owned);
    let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
    Some(Source {
        uri: words.next()?,
        suites: vec![words.next()?],
        components: words.collect(),
        signed_by: signed_by.map(str::to_owned),
    })
}

fn paragraph(text: &str) -> Option<Source> {
    let field = |name: &str| {
        text.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let words = |name| field(name).map(|text| text.split_whitespace().map(str::to_owned).collect());
    let types: Vec<String> = words("Types")?;
    let disabled = field("Enabled").is_some_and(|word| word == "no");
    if disabled || !types.iter().any(|kind| kind == "deb") {
        return None;
    }
    let uris: Vec<String> = words("URIs")?;
    Some(Source {
        uri: uris.into_iter().next()?,
        suites: words("Suites")?,
        components: words("Components").unwrap_or_default(),
        // A key may stand in the file itself, over many lines; apt's own trusted keys serve then.
        signed_by: field("Signed-By").filter(|key| key.starts_with('/')),
    })
}

fn depends_in(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.trim().trim_start_matches('|').strip_prefix("Depends: "))
        .map(|name| name.trim_matches(['<', '>']).to_owned())
        .collect()
}

fn candidate_in(text: &str) -> Option<String> {
    let version = text.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then(|| version.to_owned())
}

fn value<'a>(release: &'a str, name: &str) -> Option<&'a str> {
    release
        .lines()
        .find_map(|line| line.split_once('=').filter(|(key, _)| *key == name))
        .map(|(_, value)| value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEB822: &str = "# a comment\nTypes: deb\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n\
        Components: main\nSigned-By: /usr/share/keyrings/k.gpg\n\nTypes: deb-src\nURIs: http://other.example\nSuites: bookworm\n";

    fn check(text: &str, expect: &[(&str, &[&str])]) {
        let found = entries(text);
        let found: Vec<(&str, Vec<&str>)> = found
            .iter()
            .map(|source| (source.uri.as_str(), source.suites.iter().map(String::as_str).collect()))
            .collect();
        let expect: Vec<(&str, Vec<&str>)> =
            expect.iter().map(|(uri, suites)| (*uri, suites.to_vec())).collect();
        assert_eq!(found, expect, "{text}");
    }

    #[test]
    fn both_forms_of_sources_are_read() {
        check(DEB822, &[("http://mirror.example/debian", &["bookworm", "bookworm-updates"])]);
        check(
            "# deb http://no.example x main\ndeb [arch=amd64 signed-by=/k] https://m.example/debian trixie main contrib\n",
            &[("https://m.example/debian", &["trixie"])],
        );
        check("Types: deb\nEnabled: no\nURIs: http://m.example\nSuites: s\n", &[]);
        check("", &[]);
    }

    #[test]
    fn an_added_suite_keeps_mirror_components_and_key() {
        let source = entries(DEB822).remove(0);
        assert_eq!(
            source.with_suite("bookworm-backports"),
            "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm-backports\nComponents: main\n\
             Signed-By: /usr/share/keyrings/k.gpg\n"
        );
    }

    #[test]
    fn a_policy_that_was_there_stays() {
        let directory = std::env::temp_dir().join(format!("ferry-policy-{}", std::process::id()));
        fs::create_dir(&directory).expect("a directory");
        let path = directory.join("policy-rc.d");
        for (before, after) in [(None, None), (Some("exit 0\n"), Some("exit 0\n")), (Some(NO_SERVICES), None)]
        {
            if let Some(text) = before {
                fs::write(&path, text).expect("writes");
            }
            let policy = Policy::make(&path).expect("there is one");
            assert_eq!(fs::read_to_string(&path).expect("reads"), before.unwrap_or(NO_SERVICES));
            drop(policy);
            assert_eq!(fs::read_to_string(&path).ok().as_deref(), after, "{before:?}");
            drop(fs::remove_file(&path));
        }
        fs::remove_dir_all(&directory).expect("removes");
    }

    #[test]
    fn answers_of_apt_are_read() {
        assert_eq!(
            candidate_in("q:\n  Installed: (none)\n  Candidate: 1:7.2+dfsg\n"),
            Some("1:7.2+dfsg".to_owned())
        );
        assert_eq!(candidate_in("q:\n  Candidate: (none)\n"), None);
        assert_eq!(candidate_in(""), None);
        assert_eq!(
            depends_in("p\n  Depends: a\n |Depends: b\n  Depends: <c>\n  Recommends: d\n"),
            ["a", "b", "c"]
        );
    }
}
