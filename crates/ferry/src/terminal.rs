//! The terminal that a person types on, as a guest's console needs it: every key goes through at once, none means
//! anything here. It never reads or writes. Main type: [`Raw`].

use std::io::{self, IsTerminal, Stdin};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// A terminal in raw mode (termios(3), `cfmakeraw`). It is as it was before when this is dropped, also by a panic.
pub(crate) struct Raw {
    terminal: Stdin,
    before: Termios,
}

impl Raw {
    /// Makes standard input raw; `None` where it is no terminal.
    pub(crate) fn enter() -> io::Result<Option<Raw>> {
        let terminal = io::stdin();
        if !terminal.is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Now, &raw)?;
        Ok(Some(Raw { terminal, before }))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(&self.terminal, OptionalActions::Now, &self.before) {
            tracing::warn!("the terminal stays raw; `reset` mends it: {error}");
        }
    }
}
