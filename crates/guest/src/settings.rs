//! The guest's settings, which travel on the kernel's command line as `ferry.*` words. Main type: [`Settings`].

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::memory::Rewrite;

/// What the guest is told to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `ferry.address`: the guest's own address; its network is a /24.
    pub address: Ipv4Addr,
    /// `ferry.ping`: whom it pings all the time.
    pub ping: Ipv4Addr,
    /// `ferry.ping_ms`: the time from one ping to the next, in milliseconds.
    pub ping_every: Duration,
    /// `ferry.memory`: how much memory holds the pattern, in MiB.
    pub memory_mib: u32,
    /// `ferry.rate`: how many pages of 4 KiB are rewritten each second.
    pub rate_pages: u32,
    /// `ferry.rewrite`: how much of such a page, `word` or `page`.
    pub rewrite: Rewrite,
    /// `ferry.records`: how many records are written each second; 0: none.
    pub records_rate: u32,
    /// `ferry.beat_ms`: the time from one [beat](crate::beat) to the next, in milliseconds; 0: none is sent.
    pub beat_every: Duration,
}

impl Settings {
    /// Settings for a guest with this address that pings `ping`, at an easy pace.
    pub fn easy(address: Ipv4Addr, ping: Ipv4Addr) -> Settings {
        Settings {
            address,
            ping,
            ping_every: Duration::from_millis(20),
            memory_mib: 64,
            rate_pages: 1000,
            rewrite: Rewrite::Page,
            records_rate: 20,
            beat_every: Duration::ZERO,
        }
    }

    /// The words for the kernel's command line.
    pub fn words(&self) -> String {
        format!(
            "ferry.address={} ferry.ping={} ferry.ping_ms={} ferry.memory={} ferry.rate={} ferry.rewrite={} \
             ferry.records={} ferry.beat_ms={}",
            self.address,
            self.ping,
            self.ping_every.as_millis(),
            self.memory_mib,
            self.rate_pages,
            self.rewrite,
            self.records_rate,
            self.beat_every.as_millis()
        )
    }

    /// Reads a whole kernel command line. The error is the word that is missing or wrong.
    pub fn parse(line: &str) -> Result<Settings, &'static str> {
        Ok(Settings {
            address: value(line, "ferry.address")?,
            ping: value(line, "ferry.ping")?,
            ping_every: Duration::from_millis(value(line, "ferry.ping_ms")?),
            memory_mib: value(line, "ferry.memory")?,
            rate_pages: value(line, "ferry.rate")?,
            rewrite: value(line, "ferry.rewrite")?,
            records_rate: value(line, "ferry.records")?,
            beat_every: Duration::from_millis(value(line, "ferry.beat_ms")?),
        })
    }
}

fn value<T: std::str::FromStr>(line: &str, word: &'static str) -> Result<T, &'static str> {
    line.split_whitespace()
        .filter_map(|part| part.split_once('='))
        .find(|(name, _)| *name == word)
        .and_then(|(_, value)| value.parse().ok())
        .ok_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_the_command_line() {
        let settings = Settings::easy(Ipv4Addr::new(10, 78, 0, 100), Ipv4Addr::new(10, 78, 0, 10));
        assert_eq!(Settings::parse(&format!("quiet {} panic=1\n", settings.words())), Ok(settings));
    }

    #[test]
    fn a_missing_word_is_named() {
        assert_eq!(Settings::parse("ferry.address=10.0.0.1"), Err("ferry.ping"));
    }
}
