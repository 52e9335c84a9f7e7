//! Numbers and times as people read them on an axis.

/// What the values of a panel are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// A count or anything without a unit.
    #[default]
    None,
    /// Seconds; small values in ms or µs.
    Seconds,
    /// Bytes, in powers of 1024.
    Bytes,
    /// A ratio, shown as percent.
    Ratio,
    /// Events per second.
    PerSecond,
}

/// What the times of a figure are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeAxis {
    /// Seconds since the begin of a run.
    #[default]
    Elapsed,
    /// Unix seconds, written as a time of day in UTC.
    Clock,
}

impl Unit {
    /// Writes a value; `step` is the distance between ticks and decides the digits behind the point.
    pub(crate) fn write(self, value: f64, step: f64) -> String {
        let magnitude = value.abs().max(step);
        match self {
            Self::None => format!("{}{}", digits(value / si(magnitude).0, step / si(magnitude).0), si(magnitude).1),
            Self::PerSecond => {
                format!("{}{}/s", digits(value / si(magnitude).0, step / si(magnitude).0), si(magnitude).1)
            }
            Self::Ratio => format!("{} %", digits(value * 100.0, step * 100.0)),
            Self::Seconds => scaled(value, step, magnitude, &[(60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs")]),
            Self::Bytes => {
                const KIB: f64 = 1024.0;
                let units = [(KIB * KIB * KIB, "GiB"), (KIB * KIB, "MiB"), (KIB, "KiB"), (1.0, "B")];
                scaled(value, step, magnitude, &units)
            }
        }
    }
}

/// The largest unit in which `magnitude` is at least one, for minutes at least two.
fn scaled(value: f64, step: f64, magnitude: f64, units: &[(f64, &str)]) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let fits = |(size, name): &&(f64, &str)| magnitude >= if *name == "min" { 2.0 * size } else { *size };
    let (size, name) = units.iter().find(fits).or(units.last()).copied().unwrap_or((1.0, ""));
    format!("{} {name}", digits(value / size, step / size))
}

fn si(magnitude: f64) -> (f64, &'static str) {
    if magnitude >= 1e9 {
        (1e9, "G")
    } else if magnitude >= 1e6 {
        (1e6, "M")
    } else if magnitude >= 1e4 {
        (1e3, "k")
    } else {
        (1.0, "")
    }
}

/// As many digits behind the point as the step needs, and no more than six.
fn digits(value: f64, step: f64) -> String {
    let mut places = 0_usize;
    let mut scaled_step = step.abs();
    while places < 6 && scaled_step > 0.0 && (scaled_step - scaled_step.round()).abs() > 1e-6 * scaled_step.max(1.0) {
        scaled_step *= 10.0;
        places += 1;
    }
    let text = format!("{value:.places$}");
    if text.trim_start_matches(['-', '0', '.']).is_empty() { "0".to_owned() } else { text }
}

impl TimeAxis {
    /// Writes a time; `step` is the distance between ticks in seconds.
    pub(crate) fn write(self, seconds: f64, step: f64) -> String {
        match self {
            Self::Elapsed if seconds.abs() < 120.0 => format!("{} s", digits(seconds, step)),
            Self::Elapsed => {
                let whole = seconds.round();
                let (minutes, rest) = ((whole / 60.0).trunc(), whole.abs() % 60.0);
                if rest == 0.0 { format!("{minutes:.0} min") } else { format!("{minutes:.0}:{rest:02.0} min") }
            }
            Self::Clock => {
                let of_day = seconds.rem_euclid(86_400.0);
                let (hours, minutes) = ((of_day / 3600.0).floor(), (of_day / 60.0).floor() % 60.0);
                let rest = of_day % 60.0;
                if step >= 60.0 {
                    format!("{hours:02.0}:{minutes:02.0}")
                } else {
                    format!("{hours:02.0}:{minutes:02.0}:{:02.0}", rest.floor())
                }
            }
        }
    }
}
