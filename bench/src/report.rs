//! The results as a table with ratios, as JSON, and as a plot.

use std::{fmt::Write as _, fs, path::Path};

use crate::scenario::Measured;

/// A Markdown table. Ratios are ours divided by theirs: below 1 is better.
pub fn table(results: &[Measured]) -> String {
    let mut table = String::from(
        "| scenario | server | CPU ms/s each | ours ÷ theirs | memory MiB | arrived Mbit/s | least ÷ most | delay p50 / p99 / max ms | ready ms |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for measured in results {
        let delay = measured
            .delay_ms
            .map_or_else(|| "–".to_owned(), |delay| format!("{:.1} / {:.1} / {:.1}", delay.p50, delay.p99, delay.max));
        let _ = writeln!(
            table,
            "| {} | {} | {:.3} | {} | {:.1} | {:.1} | {:.3} | {delay} | {:.0} |",
            measured.scenario,
            measured.contender,
            measured.cpu_ms_per_s_unit,
            ratio(results, measured),
            measured.memory_mib,
            measured.arrived_mbit_s,
            measured.evenness,
            measured.ready_ms,
        );
    }
    table
}

fn ratio(results: &[Measured], theirs: &Measured) -> String {
    let ours = results.iter().find(|other| other.scenario == theirs.scenario && other.contender == "GoStream");
    match ours {
        Some(ours) if theirs.contender != ours.contender => {
            format!("{:.3}", ours.cpu_ms_per_s_unit / theirs.cpu_ms_per_s_unit)
        }
        _ => "1".to_owned(),
    }
}

/// Writes `results.json` and `cpu.svg`.
pub fn write(folder: &Path, results: &[Measured]) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("results.json"), serde_json::to_string_pretty(results)?)?;
    fs::write(folder.join("results.md"), table(results))?;
    fs::write(folder.join("cpu.svg"), plot(results))?;
    Ok(())
}

/// Bars of CPU time on a logarithmic scale, since values differ by orders of magnitude.
fn plot(results: &[Measured]) -> String {
    const ROW: usize = 22;
    const LEFT: usize = 430;
    const WIDTH: f64 = 420.0;
    let values: Vec<f64> = results.iter().map(|measured| measured.cpu_ms_per_s_unit.max(0.01)).collect();
    let most = values.iter().copied().fold(0.1, f64::max);
    let least = values.iter().copied().fold(most, f64::min) / 2.0;
    let mut rows = String::new();
    for (n, (measured, value)) in results.iter().zip(&values).enumerate() {
        let y = 40 + n * ROW;
        let width = (value / least).ln() / (most / least).ln() * WIDTH;
        let colour = if measured.contender == "GoStream" { "#0f766e" } else { "#94a3b8" };
        let _ = writeln!(
            rows,
            r##"<text x="{}" y="{}" text-anchor="end">{}, {}</text><rect x="{LEFT}" y="{}" width="{width:.0}" height="14" fill="{colour}"/><text x="{:.0}" y="{}">{value:.2}</text>"##,
            LEFT - 8,
            y + 11,
            measured.scenario,
            measured.contender,
            y,
            LEFT as f64 + width + 6.0,
            y + 11,
        );
    }
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="920" height="{}" font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="#fff"/><text x="10" y="20" font-size="14">CPU ms per second, for each destination or stream (logarithmic)</text>{rows}</svg>"##,
        60 + results.len() * ROW
    )
}
