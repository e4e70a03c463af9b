//! The rules for the text of one Rust file: its head, its size, its names, and what must not be in it. It
//! opens no file. The main function is [`check`].

use std::path::Path;

use super::Violation;
use super::lexer::Code;

/// Of a file.
const FILE_LINES_MAX: usize = 800;

/// Of a function, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 80;

/// Names of modules that would take in anything.
const MODULES_BANNED: [&str; 9] =
    ["util", "utils", "helper", "helpers", "common", "misc", "manager", "managers", "shared"];

/// Words for the two sides of a migration that are not ours: it is `source` and `target`, and between
/// agents `host`.
const WORDS_BANNED: [&str; 5] = ["src", "dst", "destination", "peer", "remote"];

/// Identifiers that hold such a word because somebody else named them.
const WORDS_EXCEPTED: [&str; 9] = [
    "verify_peer",               // QEMU's property of tls-creds objects
    "peer_certificates",         // rustls, tokio-rustls
    "peer_cred",                 // tokio's UnixStream
    "peer_addr",                 // std's and tokio's sockets
    "remote_addr",               // axum, hyper
    "RemoteAddr",                // the same, as a type
    "Destination",               // rtnetlink, of a route
    "destination_prefix",        // the same
    "destination_prefix_length", // the same
];

/// Macros that stand for work not done, or for a look that was forgotten.
const MACROS_BANNED: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// What touches the world, and so must not be in a pure crate outside its tests.
const IMPURE: [&str; 12] = [
    "std::fs",
    "std::io::stdin",
    "std::process",
    "std::env::var",
    "std::thread",
    "TcpStream",
    "UnixStream",
    "UdpSocket",
    "Instant::now",
    "SystemTime::now",
    "Uuid::now_v7",
    "Uuid::new_v4",
];

/// Checks one file; `file` is relative to the repository, `is_pure` says whether its crate is.
pub(crate) fn check(file: &Path, content: &str, is_pure: bool) -> Vec<Violation> {
    let code = Code::new(content);
    let mut violations = Vec::new();
    let mut add = |line: usize, message: String| violations.push(Violation::new(file, line, message));

    head(file, content, &mut add);
    names(&code, &mut add);
    for function in code.functions() {
        if function.lines > FUNCTION_LINES_MAX {
            add(
                function.line,
                format!(
                    "fn {} has {} lines, {FUNCTION_LINES_MAX} are allowed: name a part of it and move it out",
                    function.name, function.lines
                ),
            );
        }
    }
    attributes(&code, &mut add);
    if is_pure && !is_test(file) {
        purity(&code, &mut add);
    }
    violations
}

fn head(file: &Path, content: &str, add: &mut impl FnMut(usize, String)) {
    if !content.starts_with("//!") {
        add(1, "the first line is not `//!`: say what the file is for and what it never does".to_owned());
    }
    let lines = content.lines().count();
    if lines > FILE_LINES_MAX {
        add(0, format!("the file has {lines} lines, {FILE_LINES_MAX} are allowed: divide it by subject"));
    }
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let folders = file.parent().into_iter().flat_map(Path::iter).map(|part| part.to_string_lossy());
    for name in folders.chain([stem]) {
        if MODULES_BANNED.contains(&name.as_ref()) {
            add(0, format!("{name:?} names no subject: name the file or folder after what it is about"));
        }
    }
}

fn names(code: &Code, add: &mut impl FnMut(usize, String)) {
    let words = code.words();
    for word in &words {
        if WORDS_EXCEPTED.contains(&word.text.as_str()) {
            continue;
        }
        for part in parts(&word.text) {
            let single = part.strip_suffix('s').unwrap_or(&part);
            if WORDS_BANNED.contains(&part.as_str()) || WORDS_BANNED.contains(&single) {
                add(
                    word.line,
                    format!("`{}`: the words are source, target and host, not {part:?}", word.text),
                );
            }
        }
        if MACROS_BANNED.contains(&word.text.as_str()) && code.next(word.span.end) == Some('!') {
            add(word.line, format!("`{}!` is for work in progress, not for this repository", word.text));
        }
    }
    for pair in words.windows(2) {
        let [keyword, name] = pair else { continue };
        if keyword.text == "fn" && name.text.starts_with("get_") {
            add(name.line, format!("`{}`: name it without get_", name.text));
        }
        if keyword.text == "mod" && MODULES_BANNED.contains(&name.text.as_str()) {
            add(name.line, format!("mod `{}` names no subject", name.text));
        }
    }
}

fn attributes(code: &Code, add: &mut impl FnMut(usize, String)) {
    for (number, line) in code.lines().iter().enumerate() {
        let squeezed: String = line.chars().filter(|c| !c.is_whitespace()).collect();
        let has =
            |what: &str| squeezed.contains(&format!("#[{what}")) || squeezed.contains(&format!("#![{what}"));
        let conditional = squeezed.contains("[cfg_attr(");
        if has("allow(") || (conditional && squeezed.contains(",allow(")) {
            add(number + 1, "allow hides what is mended later: use #[expect(…, reason = \"…\")]".to_owned());
        }
        if has("ignore") || (conditional && squeezed.contains(",ignore")) {
            add(number + 1, "an ignored test cannot fail: select it by a nextest profile".to_owned());
        }
    }
}

fn purity(code: &Code, add: &mut impl FnMut(usize, String)) {
    for (number, line) in code.lines().iter().enumerate() {
        if line.trim() == "#[cfg(test)]" {
            // By our custom the tests end a file.
            return;
        }
        for word in IMPURE {
            if line.contains(word) {
                add(number + 1, format!("`{word}` in a pure crate: take what it gives as an argument"));
            }
        }
    }
}

fn is_test(file: &Path) -> bool {
    file.iter().any(|part| part == "tests" || part == "tests.rs" || part == "examples" || part == "benches")
}

/// The words of an identifier, in lower case: `peerAddr2`, `PeerAddr2` and `PEER_ADDR2` have two.
fn parts(identifier: &str) -> Vec<String> {
    let mut parts: Vec<String> = vec![String::new()];
    let mut before_is_lower = false;
    for c in identifier.chars() {
        if c == '_' || (c.is_uppercase() && before_is_lower) {
            parts.push(String::new());
        }
        if c.is_alphabetic() {
            parts.last_mut().expect("there is always one").extend(c.to_lowercase());
        }
        before_is_lower = c.is_lowercase() || c.is_numeric();
    }
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts a head on `source`, and compares the lines (less that head) and messages.
    #[track_caller]
    fn check_body(source: &str, expect: &[(usize, &str)]) {
        let found = check(Path::new("crates/api/src/x.rs"), &format!("//! Head.\n{source}"), true);
        let found: Vec<_> = found.iter().map(|v| (v.line - 1, v.message.as_str())).collect();
        assert_eq!(found, expect, "{source}");
    }

    #[track_caller]
    fn check_file(file: &str, content: &str, expect: &str) {
        let found = check(Path::new(file), content, false);
        let found: Vec<_> = found.iter().map(|v| v.message.as_str()).collect();
        assert!(found.iter().any(|message| message.contains(expect)), "{found:?} lacks {expect:?}");
    }

    #[test]
    fn what_is_tidy_passes() {
        check_body("fn source(target: Host) -> Source { /* src */ \"peer\" }\n", &[]);
        check_body("use tokio::net::UnixListener;\nlet certificates = tls.peer_certificates();\n", &[]);
        check_body("#[expect(dead_code, reason = \"x\")]\nfn budget() { forget_it(); }\n", &[]);
    }

    #[test]
    fn a_file_begins_with_its_purpose() {
        let message = "the first line is not `//!`";
        check_file("a.rs", "", message);
        check_file("a.rs", "\n//! late", message);
        check_file("a.rs", "// no\n", message);
    }

    #[test]
    fn sizes_are_bounded() {
        let line = "//! x\n";
        assert!(check(Path::new("a.rs"), &line.repeat(800), false).is_empty());
        check_file("a.rs", &line.repeat(801), "801 lines, 800 are allowed");
        let function = |lines: usize| format!("//! x\nfn f() {{\n{}}}\n", "x();\n".repeat(lines - 2));
        assert!(check(Path::new("a.rs"), &function(80), false).is_empty());
        check_file("a.rs", &function(81), "fn f has 81 lines, 80 are allowed");
    }

    #[test]
    fn files_and_modules_have_a_subject() {
        for file in ["crates/x/src/util.rs", "crates/x/src/helpers/a.rs", "crates/common/src/lib.rs"] {
            check_file(file, "//! x\n", "names no subject");
        }
        check_body("mod misc {}\n", &[(1, "mod `misc` names no subject")]);
    }

    #[test]
    fn names_use_our_words() {
        let say =
            |name: &str, word: &str| format!("`{name}`: the words are source, target and host, not {word:?}");
        for (name, word) in [
            ("src", "src"),
            ("dst_path", "dst"),
            ("RemoteHost", "remote"),
            ("DESTINATION", "destination"),
            ("thePeers2", "peers"),
        ] {
            check_body(&format!("\nlet {name} = 1;\n"), &[(2, &say(name, word))]);
        }
        check_body("fn get_name() {}\n", &[(1, "`get_name`: name it without get_")]);
    }

    #[test]
    fn unfinished_work_is_seen() {
        for name in MACROS_BANNED {
            let message = format!("`{name}!` is for work in progress, not for this repository");
            check_body(&format!("{name}!(1);\n"), &[(1, &message)]);
        }
        check_body("let todo = 1;\n", &[]);
    }

    #[test]
    fn lints_and_tests_are_not_silenced() {
        let allow = "allow hides what is mended later: use #[expect(…, reason = \"…\")]";
        check_body("#[allow(dead_code)]\n", &[(1, allow)]);
        check_body("#![ allow(dead_code)]\n", &[(1, allow)]);
        check_body("#[cfg_attr(test, allow(dead_code))]\n", &[(1, allow)]);
        let ignore = "an ignored test cannot fail: select it by a nextest profile";
        check_body("#[ignore = \"slow\"]\n", &[(1, ignore)]);
        check_body("#[ignore]\n", &[(1, ignore)]);
        check_body("#[cfg_attr(x, ignore)]\n", &[(1, ignore)]);
    }

    #[test]
    fn pure_crates_touch_nothing() {
        for word in IMPURE {
            let message = format!("`{word}` in a pure crate: take what it gives as an argument");
            check_body(&format!("use {word};\n"), &[(1, &message)]);
            check_body(&format!("#[cfg(test)]\nuse {word};\n"), &[]);
        }
        let impure = check(Path::new("crates/host/src/a.rs"), "//! x\nuse std::fs;\n", false);
        assert!(impure.is_empty(), "{impure:?}");
    }
}
