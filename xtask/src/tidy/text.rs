//! The rules for any text file. It opens none. The main function is [`check`].

use std::path::Path;

use super::Violation;

/// A request to a person that a test should be.
const SYNC_REQUEST: &str = concat!("keep in ", "sync");

/// Beginnings of paths that exist on one machine only.
const MACHINE_PATHS: [&str; 2] = [concat!("/wo", "rk/"), concat!("/tmp/", "bash")];

/// Checks one file; `file` is relative to the repository. Cargo.lock is cargo's.
pub(crate) fn check(file: &Path, content: &str) -> Vec<Violation> {
    if file.ends_with("Cargo.lock") {
        return Vec::new();
    }
    let mut violations = Vec::new();
    for (number, line) in content.lines().enumerate() {
        let lower = line.to_lowercase();
        if lower.contains(SYNC_REQUEST) {
            let message = format!("{SYNC_REQUEST:?} asks a person: write a test that compares the two");
            violations.push(Violation::new(file, number + 1, message));
        }
        for path in MACHINE_PATHS {
            let begins =
                |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-/}$".contains(c));
            if line.match_indices(path).any(|(at, _)| begins(at)) {
                let message = format!("{path:?} is a path of one machine: make it relative or configurable");
                violations.push(Violation::new(file, number + 1, message));
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_line(line: &str, count: usize) {
        assert_eq!(check(Path::new("README.md"), &format!("first\n{line}\n")).len(), count, "{line}");
    }

    #[test]
    fn a_request_to_a_person_is_seen() {
        check_line(&SYNC_REQUEST.to_uppercase(), 1);
        check_line(&format!("// {SYNC_REQUEST} with b.rs"), 1);
        check_line("the two stay equal by a test", 0);
        assert_eq!(check(Path::new("a.md"), &format!("x\n{SYNC_REQUEST}"))[0].line, 2);
    }

    #[test]
    fn a_path_of_one_machine_is_seen() {
        for path in MACHINE_PATHS {
            check_line(&format!("see {path}x"), 1);
            check_line(&format!("\"{path}x\""), 1);
            check_line(&format!("docs{path}x"), 0);
        }
        assert!(check(Path::new("Cargo.lock"), MACHINE_PATHS[0]).is_empty());
    }
}
