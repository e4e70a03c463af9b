//! `cargo xtask corpus`: makes the definitions under `crates/domain/tests/corpus/real` again, with the virt-install
//! and the libvirt of this machine, as `corpus.toml` beside them says. libvirtd runs in namespaces of its own, over
//! directories that are gone afterwards. It installs nothing and judges nothing; the tests read what it writes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::setup;

/// Where the definitions lie, below the repository.
const FOLDER: &str = "crates/domain/tests/corpus/real";

/// A program and the Debian package that holds it.
const PROGRAMS: [(&str, &str); 5] = [
    ("virt-install", "virtinst"),
    ("virsh", "libvirt-clients"),
    ("libvirtd", "libvirt-daemon-system"),
    ("swtpm", "swtpm"),
    ("unshare", "util-linux"),
];

/// Directories that libvirtd writes; each is empty memory here.
const OWN_DIRECTORIES: [&str; 7] = [
    "/etc/libvirt",
    "/run",
    "/srv",
    "/var/cache/libvirt",
    "/var/lib/libvirt",
    "/var/lib/swtpm-localca",
    "/var/log/libvirt",
];

/// No logging daemon, no cgroups, no other user: libvirtd alone in its namespaces.
const QEMU_CONF: &str = "user = \"root\"\ngroup = \"root\"\nsecurity_driver = \"none\"\nnamespaces = []\n\
    cgroup_controllers = []\nstdio_handler = \"file\"\n";
const LIBVIRTD_CONF: &str = "host_uuid = \"00000000-0000-4000-8000-00000000f00d\"\n";

/// How long libvirtd may take to answer: it asks every QEMU binary what it can do.
const LIBVIRTD_LIMIT: Duration = Duration::from_secs(60);

/// `corpus.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipes {
    domain: Vec<Recipe>,
}

/// One domain of the corpus.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipe {
    /// Of the files and of the domain.
    name: String,
    /// For virt-install, as a shell splits them.
    arguments: String,
    /// Which of virt-install's phases: 1 installs, 2 is afterwards.
    step: Option<u8>,
    /// Whether it is started too.
    #[serde(default)]
    running: bool,
}

/// Makes the files of these domains again, or of all where none is named; prints what libvirt refused.
///
/// # Errors
/// Programs are missing, or virt-install refuses a recipe.
pub(crate) fn run(root: &Path, names: &[String]) -> Result<()> {
    ensure!(setup::is_root(), "not root: libvirtd gets namespaces of its own");
    let missing: Vec<&str> =
        PROGRAMS.iter().filter(|(it, _)| setup::find(it).is_none()).map(|(_, package)| *package).collect();
    ensure!(missing.is_empty(), "install first: {} (libvirt 11 or newer)", missing.join(" "));
    let program = std::env::current_exe().context("this program")?;
    let status = Command::new("unshare")
        .args(["--mount", "--net", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"])
        // The first process of a namespace inherits the orphans of all others and has to wait for them: QEMUs that
        // libvirt asks what they can do. A shell does that.
        .args(["sh", "-c", "\"$0\" corpus-inside \"$@\" & wait $!"])
        .arg(program)
        .args(names)
        .current_dir(root)
        .status()
        .context("unshare")?;
    ensure!(status.success(), "the corpus was not made: {status}");
    Ok(())
}

/// The part that runs in the namespaces.
pub(crate) fn inside(root: &Path, names: &[String]) -> Result<()> {
    let folder = root.join(FOLDER);
    let file = folder.join("corpus.toml");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let recipes: Recipes = toml::from_str(&text).with_context(|| file.display().to_string())?;
    surroundings()?;
    let mut libvirtd = Command::new("libvirtd").stderr(Stdio::null()).spawn().context("libvirtd")?;
    let result = wait_for_libvirtd().and_then(|()| make_all(&folder, &recipes, names));
    // Whatever else was started dies with the process namespace.
    libvirtd.kill().context("libvirtd")?;
    libvirtd.wait().context("libvirtd")?;
    result
}

/// Empty directories, a bridge, and the files that virt-install wants to see.
fn surroundings() -> Result<()> {
    call("mount", &["--make-rprivate", "/"])?;
    for directory in OWN_DIRECTORIES {
        fs::create_dir_all(directory).context(directory)?;
        call("mount", &["-t", "tmpfs", "ferry-corpus", directory])?;
    }
    let write = |path: &str, content: &str| fs::write(path, content).with_context(|| path.to_owned());
    write("/etc/libvirt/qemu.conf", QEMU_CONF)?;
    write("/etc/libvirt/libvirtd.conf", LIBVIRTD_CONF)?;
    for directory in [
        "/var/lib/libvirt/images",
        "/var/lib/libvirt/boot",
        "/srv/iso",
        "/srv/boot",
        "/srv/tree/images/pxeboot",
    ] {
        fs::create_dir_all(directory).context(directory)?;
    }
    for file in ["/srv/iso/install.iso", "/srv/iso/drivers.iso"] {
        write(file, "an installer\n")?;
    }
    for directory in ["/srv/boot", "/srv/tree/images/pxeboot"] {
        write(&format!("{directory}/vmlinuz"), "a kernel\n")?;
        write(&format!("{directory}/initrd.img"), "an initrd\n")?;
    }
    let tree = "[general]\nfamily = Fedora\nversion = 37\narch = x86_64\n[images-x86_64]\n\
        kernel = images/pxeboot/vmlinuz\ninitrd = images/pxeboot/initrd.img\n";
    write("/srv/tree/.treeinfo", tree)?;
    fs::create_dir_all("/dev/hugepages").context("/dev/hugepages")?;
    call("mount", &["-t", "hugetlbfs", "ferry-corpus", "/dev/hugepages"])?;
    call("ip", &["link", "set", "lo", "up"])?;
    call("ip", &["link", "add", "br0", "type", "bridge"])
}

fn wait_for_libvirtd() -> Result<()> {
    let began = Instant::now();
    loop {
        match virsh(&["version"]) {
            Ok(version) => {
                print!("{version}");
                break;
            }
            Err(error) if began.elapsed() > LIBVIRTD_LIMIT => return Err(error.context("libvirtd")),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
    fs::write(
        "/run/default.xml",
        "<network><name>default</name><bridge name='br0'/><forward mode='bridge'/></network>",
    )?;
    virsh(&["net-define", "/run/default.xml"])?;
    virsh(&["net-start", "default"])?;
    Ok(())
}

fn make_all(folder: &Path, recipes: &Recipes, names: &[String]) -> Result<()> {
    let mut refused = BTreeMap::new();
    for (number, recipe) in recipes.domain.iter().enumerate() {
        let name = recipe.name.as_str();
        if !names.is_empty() && !names.contains(&recipe.name) {
            continue;
        }
        for extension in ["xml", "defined.xml", "running.xml", "argv"] {
            drop(fs::remove_file(folder.join(format!("{name}.{extension}"))));
        }
        let made = print(recipe, number).and_then(|printed| {
            fs::write(folder.join(format!("{name}.xml")), printed)?;
            define(folder, recipe)
        });
        if let Err(error) = made {
            refused.insert(name, format!("{error:#}"));
        }
    }
    for (name, error) in &refused {
        println!("{name}: {error}");
    }
    ensure!(refused.is_empty(), "some domains could not be made");
    Ok(())
}

/// What virt-install prints.
fn print(recipe: &Recipe, number: usize) -> Result<String> {
    for image in images(&recipe.arguments).filter(|image| !Path::new(image).exists()) {
        let format = if image.ends_with(".raw") { "raw" } else { "qcow2" };
        call("qemu-img", &["create", "-q", "-f", format, image, "64M"])?;
    }
    let step = recipe.step.map_or(String::new(), |step| format!(" {step}"));
    let line = format!(
        "virt-install --connect qemu:///system --name {} --uuid 6b3c1a90-4f5e-4d6c-8b7a-{number:012} {} --check all=off --dry-run \
         --print-xml{step}",
        recipe.name, recipe.arguments
    );
    output(Command::new("sh").args(["-c", &line]))
}

/// Images that a recipe names and does not make: virt-install looks at them.
fn images(arguments: &str) -> impl Iterator<Item = &str> {
    arguments.split([' ', ',', '=']).filter(|word| word.starts_with("/var/lib/libvirt/images/"))
}

/// What libvirt makes of it.
fn define(folder: &Path, recipe: &Recipe) -> Result<()> {
    let name = recipe.name.as_str();
    let file = |extension: &str| folder.join(format!("{name}.{extension}"));
    let printed = file("xml");
    virsh(&["define", printed.to_str().context("the path is no UTF-8")?])?;
    fs::write(file("defined.xml"), virsh(&["dumpxml", "--inactive", name])?.trim_end().to_owned() + "\n")?;
    if recipe.running {
        virsh(&["start", "--paused", name])?;
        fs::write(file("running.xml"), virsh(&["dumpxml", name])?.trim_end().to_owned() + "\n")?;
        virsh(&["destroy", name])?;
    }
    let argv = virsh(&["domxml-to-native", "qemu-argv", "--domain", name])?;
    fs::write(file("argv"), switches(&argv))?;
    virsh(&["undefine", "--nvram", "--tpm", name])?;
    Ok(())
}

/// A command line of libvirt, a switch a line, without the environment and the program before them. It quotes what a
/// shell would split.
fn switches(argv: &str) -> String {
    let (_, switches) = argv.trim().split_once(" -").unwrap_or_default();
    format!("-{}\n", switches.replace(" -", "\n-"))
}

fn virsh(arguments: &[&str]) -> Result<String> {
    output(Command::new("virsh").args(["--quiet", "--connect", "qemu:///system"]).args(arguments))
}

fn call(program: &str, arguments: &[&str]) -> Result<()> {
    output(Command::new(program).args(arguments)).map(drop)
}

fn output(command: &mut Command) -> Result<String> {
    let output =
        command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null()).output().context("it does not start")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{:?}: {}", command.get_program(), said.trim());
    }
    String::from_utf8(output.stdout).context("the output is no UTF-8")
}
