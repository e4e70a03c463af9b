//! What a rule is and how it answers. It judges nothing. Main types: [`Rule`], [`Answer`].

use api::{Checked, Fix, Severity};

use super::Facts;

/// One check.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Its stable code: what it finds where it finds something.
    pub code: &'static str,
    /// What it looks at.
    pub what: &'static str,
    /// Why it matters.
    pub why: &'static str,
    /// Whether nobody may skip it: without it a guest would be lost or harmed, or it is the target's operator's word.
    pub needed: bool,
    pub(super) judge: fn(&Facts) -> Vec<Answer>,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Rule) -> bool {
        self.code == other.code
    }
}

impl Eq for Rule {}

/// What a rule says about one thing.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    severity: Severity,
    subject: Option<String>,
    source: String,
    target: String,
    message: Option<String>,
    mend: Option<String>,
    fix: Option<Fix>,
}

impl Answer {
    /// All is well.
    pub(super) fn pass() -> Answer {
        Answer {
            severity: Severity::Pass,
            subject: None,
            source: String::new(),
            target: String::new(),
            message: None,
            mend: None,
            fix: None,
        }
    }

    /// Somebody should know, and do something about it.
    pub(super) fn warn(message: impl Into<String>, mend: impl Into<String>) -> Answer {
        let (message, mend) = (Some(message.into()), Some(mend.into()));
        Answer { severity: Severity::Warn, message, mend, ..Answer::pass() }
    }

    /// It forbids the migration.
    pub(super) fn fail(message: impl Into<String>, mend: impl Into<String>) -> Answer {
        Answer { severity: Severity::Fail, ..Answer::warn(message, mend) }
    }

    /// What both hosts have.
    pub(super) fn between(self, source: impl ToString, target: impl ToString) -> Answer {
        Answer { source: source.to_string(), target: target.to_string(), ..self }
    }

    /// What it is about.
    pub(super) fn about(self, subject: impl Into<String>) -> Answer {
        Answer { subject: Some(subject.into()), ..self }
    }

    /// What Ferry can do about it by itself.
    pub(super) fn fixed_by(self, fix: Fix) -> Answer {
        Answer { fix: Some(fix), ..self }
    }

    pub(super) fn of(self, rule: &Rule) -> Checked {
        Checked {
            rule: rule.code.to_owned(),
            severity: self.severity,
            subject: self.subject,
            source: self.source,
            target: self.target,
            message: self.message.unwrap_or_else(|| rule.what.to_owned()),
            why: rule.why.to_owned(),
            mend: self.mend,
            fix: self.fix,
        }
    }
}

/// Nothing to look at.
pub(super) fn none() -> Vec<Answer> {
    Vec::new()
}

/// A pass where nothing was found.
pub(super) fn or_pass(found: Vec<Answer>, pass: Answer) -> Vec<Answer> {
    if found.is_empty() { vec![pass] } else { found }
}

/// As many MiB.
pub(super) fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
