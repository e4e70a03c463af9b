//! `<clock>`: the guest's clocks and timers. It never reads a clock: what an offset means now, QEMU's command line says.

use crate::reader::{Node, Reader, is, whole};
use crate::word::words;

/// `<clock>`: the guest's clocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clock {
    /// What the real-time clock shows at start (QEMU's `-rtc base=`).
    pub offset: ClockOffset,
    /// The timers that the definition says something about; at most one of a name.
    pub timers: Vec<Timer>,
}

impl Clock {
    /// The timer of a name, where the definition says something about it.
    pub fn timer(&self, name: TimerName) -> Option<&Timer> {
        self.timers.iter().find(|timer| timer.name == name)
    }
}

/// What the guest's real-time clock shows when it starts. Once it runs, the clock is the guest's own and travels with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockOffset {
    /// `offset='utc'`: UTC, the default.
    Utc,
    /// `offset='localtime'`: the host's local time.
    Localtime,
    /// `offset='variable'`: so many seconds later than its basis.
    Variable {
        /// Seconds, negative ones earlier.
        adjustment_s: i64,
        /// Than what.
        basis: ClockBasis,
    },
    /// `offset='absolute'`: always the same time.
    Absolute {
        /// Seconds since 1970, UTC.
        start_s: i64,
    },
}

words! {
    /// What the offset of a variable clock is counted from.
    pub enum ClockBasis {
        /// UTC, the default.
        Utc = "utc",
        /// The host's local time.
        Localtime = "localtime",
    }
}

/// One `<timer>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// Which timer.
    pub name: TimerName,
    /// `present`: only for `hpet` (`-machine hpet=`), `kvmclock` and `hypervclock` (CPU features `kvmclock`,
    /// `hv-time`).
    pub present: Option<bool>,
    /// `tickpolicy`: only for `rtc` (`catchup` is `-rtc driftfix=slew`, `delay` is QEMU's default) and `pit`
    /// (`kvm-pit.lost_tick_policy`, `delay` or `discard`).
    pub tickpolicy: Option<TickPolicy>,
    /// `track`: only for `rtc` (`-rtc clock=`).
    pub track: Option<TimerTrack>,
    /// `frequency`: only for `tsc`, in Hz (the CPU property `tsc-frequency`).
    pub frequency_hz: Option<u64>,
}

words! {
    /// A timer of a PC.
    pub enum TimerName {
        /// The real-time clock.
        Rtc = "rtc",
        /// The programmable interval timer.
        Pit = "pit",
        /// The high precision event timer.
        Hpet = "hpet",
        /// The processor's time stamp counter.
        Tsc = "tsc",
        /// KVM's paravirtual clock.
        Kvmclock = "kvmclock",
        /// Hyper-V's paravirtual clock.
        Hypervclock = "hypervclock",
    }
}

words! {
    /// What happens to a tick that came while the guest did not run.
    pub enum TickPolicy {
        /// It comes late, at the usual rate.
        Delay = "delay",
        /// Missed ticks come faster until the guest has caught up.
        Catchup = "catchup",
        /// It is dropped.
        Discard = "discard",
    }
}

words! {
    /// What a real-time clock follows.
    pub enum TimerTrack {
        /// The guest's own time: it stands still while the guest does.
        Guest = "guest",
        /// The host's clock; QEMU's default.
        Wall = "wall",
    }
}

/// Attributes of `<clock>` by `offset`.
const OFFSETS: &[(&str, &[&str])] = &[
    ("utc", &["offset", "adjustment"]),
    ("localtime", &["offset", "adjustment"]),
    ("variable", &["offset", "adjustment", "basis"]),
    ("absolute", &["offset", "start"]),
];

impl Clock {
    /// Reads `<clock>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, root: Node<'a>) -> Clock {
        let mut clock = Clock { offset: ClockOffset::Utc, timers: Vec::new() };
        let Some(node) = reader.child(root, "clock") else { return clock };
        reader.children(node, &["timer"]);
        clock.offset = offset(reader, node).unwrap_or(ClockOffset::Utc);
        for child in node.children().filter(|child| is(*child, "timer")) {
            if let Some(timer) = timer(reader, child) {
                if clock.timer(timer.name).is_some() {
                    reader.refuse(child, format!("a second timer `{}`", timer.name), "keep one of the two");
                }
                clock.timers.push(timer);
            }
        }
        clock
    }
}

fn offset<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<ClockOffset> {
    let offset = node.attribute("offset").unwrap_or("utc");
    let Some((_, attributes)) = OFFSETS.iter().find(|(known, _)| *known == offset) else {
        let message = format!("`{offset}` is not supported as `offset` of <clock>");
        let mend = match offset {
            "timezone" => "write `localtime`, or `variable` with the seconds from UTC as `adjustment`",
            _ => "write one of `utc`, `localtime`, `variable`, `absolute`",
        };
        reader.refuse_attribute(node, "offset", message, mend);
        return None;
    };
    reader.attributes(node, attributes);
    match offset {
        "variable" => {
            let mend = "nothing is to be done if the guest keeps its time by itself";
            let message = "what the guest does to its clock is not written back into `adjustment`";
            reader.note(node, message, mend);
            let basis = reader.word(node, "basis").unwrap_or(ClockBasis::Utc);
            let adjustment_s =
                if node.has_attribute("adjustment") { seconds(reader, node, "adjustment")? } else { 0 };
            Some(ClockOffset::Variable { adjustment_s, basis })
        }
        "absolute" => {
            reader.required(node, "start", "write `start`, seconds since 1970")?;
            Some(ClockOffset::Absolute { start_s: seconds(reader, node, "start")? })
        }
        // libvirt's `adjustment` of these two says whether the clock may become a variable one; here it never does.
        utc_or_local => {
            reader.only(node, "adjustment", &["reset"], "write offset='variable' and its `adjustment`");
            Some(if utc_or_local == "utc" { ClockOffset::Utc } else { ClockOffset::Localtime })
        }
    }
}

fn seconds<'a>(reader: &mut Reader<'a>, node: Node<'a>, name: &str) -> Option<i64> {
    let value = node.attribute(name)?;
    let (sign, digits) = value.strip_prefix('-').map_or((1, value), |digits| (-1, digits));
    // A century is enough for every use of it, and keeps later sums far from overflow.
    let seconds = whole(digits).and_then(|it| i64::try_from(it).ok()).filter(|it| *it < 1 << 33);
    if seconds.is_none() {
        let message = format!("`{value}` is not a value of `{name}` of <clock>");
        reader.refuse_attribute(node, name, message, "write a whole number of seconds");
    }
    seconds.map(|seconds| sign * seconds)
}

fn timer<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<Timer> {
    reader.vocabulary(node, &["name", "present", "tickpolicy", "track", "frequency"], &[]);
    reader.required(node, "name", "write `name`")?;
    let name = reader.word(node, "name")?;
    let present = reader.flag(node, "present", "yes", "no");
    let tickpolicy = reader.word(node, "tickpolicy");
    let (may_be_absent, policies): (bool, &[TickPolicy]) = match name {
        TimerName::Rtc => (false, &[TickPolicy::Delay, TickPolicy::Catchup]),
        TimerName::Pit => (false, &[TickPolicy::Delay, TickPolicy::Discard]),
        TimerName::Tsc => (false, &[]),
        TimerName::Hpet | TimerName::Kvmclock | TimerName::Hypervclock => (true, &[]),
    };
    if present == Some(false) && !may_be_absent {
        let message = format!("timer `{name}` is part of the machine");
        reader.refuse_attribute(node, "present", message, "remove `present`");
    }
    if let Some(policy) = tickpolicy
        && !policies.contains(&policy)
    {
        let message = format!("timer `{name}` has no tick policy `{policy}`");
        let mend = match policies {
            [] => "remove `tickpolicy`".to_owned(),
            _ => format!(
                "write {}",
                policies.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(" or ")
            ),
        };
        reader.refuse_attribute(node, "tickpolicy", message, mend);
    }
    for (attribute, only) in [("track", TimerName::Rtc), ("frequency", TimerName::Tsc)] {
        if name != only && node.has_attribute(attribute) {
            let message = format!("timer `{name}` has no `{attribute}`");
            reader.refuse_attribute(node, attribute, message, format!("remove `{attribute}`"));
        }
    }
    let frequency_hz = node.attribute("frequency").and_then(|frequency| {
        let hz = whole(frequency).filter(|hz| *hz > 0);
        if hz.is_none() {
            let message = format!("`{frequency}` is not a frequency");
            reader.refuse_attribute(node, "frequency", message, "write a whole number of Hz");
        }
        hz
    });
    Some(Timer { name, present, tickpolicy, track: reader.word(node, "track"), frequency_hz })
}
