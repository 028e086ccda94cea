//! Lays a table out as text: which columns fit, how wide each is, in which colour.

use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table as Grid, presets,
};

use super::{Column, Table, TableCell, Tone, human};

/// Blanks between two columns.
const GAP: usize = 2;
/// A wrapping column keeps this width before optional columns are left out.
const NARROWEST: usize = 24;

/// The table as lines of at most `width` characters, unless columns that may not be wrapped or left out need more.
pub(super) fn table(table: &Table, width: Option<u16>, colour: bool) -> String {
    let shown = fitting_columns(table, width);
    let mut grid = Grid::new();
    grid.load_style(presets::NOTHING).force_no_tty();
    if colour {
        grid.enforce_styling();
    }
    if let Some(width) = width {
        grid.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    let shown_cells =
        |row: &[TableCell]| shown.iter().map(|at| value_cell(&table.columns[*at], &row[*at])).collect::<Vec<_>>();
    grid.set_header(shown.iter().map(|at| heading_cell(&table.columns[*at])).collect::<Vec<_>>());
    for row in &table.rows {
        grid.add_row(shown_cells(row));
    }
    let last = shown.len().saturating_sub(1);
    for (position, at) in shown.iter().enumerate() {
        let Some(column) = grid.column_mut(position) else { continue };
        column.set_padding((0, if position == last { 0 } else { 2 }));
        if !table.columns[*at].wraps {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    let lines = grid.lines().map(|line| line.trim_end().to_owned() + "\n");
    lines.collect()
}

/// The indices of the columns that fit into `width`; all of them without a width.
fn fitting_columns(table: &Table, width: Option<u16>) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..table.columns.len()).collect();
    let Some(width) = width else { return kept };
    let needed = |at: &usize| {
        let column = &table.columns[*at];
        let shown = table.rows.iter().map(|row| row[*at].shown().chars().count());
        let widest = shown.chain([column.name.chars().count()]).max().unwrap_or(0);
        if column.wraps { widest.min(NARROWEST) } else { widest }
    };
    let widths: Vec<usize> = kept.iter().map(needed).collect();
    let total = |kept: &[usize]| kept.iter().map(|at| widths[*at] + GAP).sum::<usize>().saturating_sub(GAP);
    while total(&kept) > usize::from(width) {
        let Some(position) = kept.iter().rposition(|at| table.columns[*at].is_optional) else { break };
        kept.remove(position);
    }
    kept
}

/// The column's name in capitals and bold, aligned as its values are.
fn heading_cell(column: &Column) -> Cell {
    align_cell(column, Cell::new(human::safe(&column.name).to_uppercase())).add_attribute(Attribute::Bold)
}

/// The value as a cell of the table, in the colour of its tone.
fn value_cell(column: &Column, value: &TableCell) -> Cell {
    let cell = align_cell(column, Cell::new(value.shown()));
    match value.tone {
        Tone::Plain => cell,
        Tone::Good => cell.fg(Color::DarkGreen),
        Tone::Warning => cell.fg(Color::DarkYellow),
        Tone::Bad => cell.fg(Color::DarkRed),
        Tone::Heading => cell.add_attribute(Attribute::Bold),
    }
}

/// Aligns the cell: numbers to the right, other values to the left.
fn align_cell(column: &Column, cell: Cell) -> Cell {
    cell.set_alignment(if column.is_number { CellAlignment::Right } else { CellAlignment::Left })
}
