//! What all benches print: a table, and which goals are met. Main functions: [`table`], [`goals`]. Pure text.

use super::figures::Goal;

/// A table of Markdown that can be read as it is.
pub(crate) fn table<const N: usize>(columns: [&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([columns[column].chars().count()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |cells: &[String; N]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| match column {
                0 => format!("{cell:width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        format!("| {} |\n", padded.join(" | "))
    };
    let rule: Vec<String> = widths
        .iter()
        .enumerate()
        .map(|(column, width)| format!("{}{}", "-".repeat(width + 1), if column == 0 { "-" } else { ":" }))
        .collect();
    let head = line(&columns.map(str::to_owned));
    let body: String = rows.iter().map(line).collect();
    format!("{head}|{}|\n{body}", rule.join("|"))
}

/// Ferry's goals, each with what came of it; nothing where there are none.
pub(crate) fn goals(goals: &[Goal]) -> String {
    if goals.is_empty() {
        return String::new();
    }
    let lines = goals.iter().map(|goal| {
        let word = if goal.met() { "met" } else { "**missed**" };
        format!("- {}: {}, allowed {:.2}: {word}\n", goal.what, figure(goal.figure, 2), goal.figure_max)
    });
    format!("\nGoals of Ferry:\n\n{}", lines.collect::<String>())
}

/// A figure, or a dash where there is none (NaN).
pub(crate) fn figure(value: f64, decimals: usize) -> String {
    if value.is_finite() { format!("{value:.decimals$}") } else { "–".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_without_a_figure_is_missed() {
        let goal = |figure| Goal { what: "wall in s".into(), figure, figure_max: 2.0 };
        let expect = "\nGoals of Ferry:\n\n- wall in s: 1.50, allowed 2.00: met\n\
            - wall in s: –, allowed 2.00: **missed**\n";
        assert_eq!(goals(&[goal(1.5), goal(f64::NAN)]), expect);
        assert_eq!(goals(&[]), "");
    }
}
