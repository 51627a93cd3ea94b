//! Which column a block is in, and its order within the column.

use std::collections::BTreeMap;

/// An entry of a column: a block, or the lane of an edge that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cell {
    Block(usize),
    Lane { edge: usize, column: usize },
}

impl Cell {
    pub(super) fn block(self) -> Option<usize> {
        match self {
            Self::Block(block) => Some(block),
            Self::Lane { .. } => None,
        }
    }
}

pub(super) struct Columns {
    /// From the left, each from the top.
    pub(super) cells: Vec<Vec<Cell>>,
    /// Which edges close a cycle, and go back.
    pub(super) back: Vec<bool>,
    /// The cells that each edge connects, from left to right; none for those that go back.
    pub(super) chains: Vec<Vec<Cell>>,
    positions: BTreeMap<Cell, (usize, usize)>,
}

impl Columns {
    /// Column and row.
    pub(super) fn position(&self, cell: Cell) -> (usize, usize) {
        self.positions.get(&cell).copied().unwrap_or_default()
    }

    /// Every block with its column and row.
    pub(super) fn positions(&self) -> impl Iterator<Item = (usize, (usize, usize))> {
        self.positions.iter().filter_map(|(cell, position)| Some((cell.block()?, *position)))
    }

    /// The columns and rows that an edge passes.
    pub(super) fn lane(&self, edge: usize) -> Vec<(usize, usize)> {
        let lanes = self.chains[edge].iter().filter(|cell| cell.block().is_none());
        lanes.map(|cell| self.position(*cell)).collect()
    }

    fn number(&mut self) {
        self.positions.clear();
        for (column, cells) in self.cells.iter().enumerate() {
            self.positions.extend(cells.iter().enumerate().map(|(row, cell)| (*cell, (column, row))));
        }
    }
}

/// Arranges blocks with edges between them: from, to, and whether it is for dead letters.
pub(super) fn arrange(blocks: usize, edges: &[(usize, usize, bool)]) -> Columns {
    let back = cycles(blocks, edges);
    let ranks = ranks(blocks, edges, &back);
    let mut cells = vec![Vec::new(); ranks.iter().max().map_or(0, |last| last + 1)];
    for (block, rank) in ranks.iter().enumerate() {
        cells[*rank].push(Cell::Block(block));
    }
    let mut chains = vec![Vec::new(); edges.len()];
    for (edge, (from, to, _)) in edges.iter().enumerate().filter(|(edge, _)| !back[*edge]) {
        chains[edge].push(Cell::Block(*from));
        for (column, cells) in cells.iter_mut().enumerate().take(ranks[*to]).skip(ranks[*from] + 1) {
            cells.push(Cell::Lane { edge, column });
            chains[edge].push(Cell::Lane { edge, column });
        }
        chains[edge].push(Cell::Block(*to));
    }
    let mut columns = Columns { cells, back, chains, positions: BTreeMap::new() };
    columns.number();
    untangle(&mut columns);
    columns
}

/// The edges that lead back to a block of the path by which they were reached, or from a block to itself: a depth-first
/// search, whose path is a stack of blocks and of the edges that are still to be followed from each.
fn cycles(blocks: usize, edges: &[(usize, usize, bool)]) -> Vec<bool> {
    let mut back = vec![false; edges.len()];
    let mut done = vec![false; blocks];
    let fed = |block: usize| edges.iter().any(|(from, to, _)| *to == block && from != to);
    // First from the blocks that messages enter by.
    let starts = (0..blocks).filter(|block| !fed(*block)).chain(0..blocks);
    for start in starts {
        let outgoing = |block: usize| (0..edges.len()).filter(move |edge| edges[*edge].0 == block);
        let mut path = if done[start] { Vec::new() } else { vec![(start, outgoing(start))] };
        while let Some((block, next)) = path.last_mut() {
            let Some(edge) = next.next() else {
                done[*block] = true;
                path.pop();
                continue;
            };
            let to = edges[edge].1;
            if path.iter().any(|(passed, _)| *passed == to) {
                back[edge] = true;
            } else if !done[to] {
                path.push((to, outgoing(to)));
            }
        }
    }
    back
}

/// The longest path from a start.
fn ranks(blocks: usize, edges: &[(usize, usize, bool)], back: &[bool]) -> Vec<usize> {
    let mut ranks = vec![0; blocks];
    for _ in 0..blocks {
        for (edge, (from, to, _)) in edges.iter().enumerate() {
            if !back[edge] {
                ranks[*to] = ranks[*to].max(ranks[*from] + 1);
            }
        }
    }
    ranks
}

/// How often the columns are sorted, alternately rightwards and leftwards.
const SWEEPS: usize = 12;

/// Sorts each column by the middle of its neighbours, alternately from both sides, and keeps the order with the fewest
/// crossings.
fn untangle(columns: &mut Columns) {
    let mut best = (crossings(columns), columns.cells.clone());
    for sweep in 0..SWEEPS {
        let count = columns.cells.len();
        for step in 1..count {
            let rightwards = sweep % 2 == 0;
            let column = if rightwards { step } else { count - 1 - step };
            let mut sorted: Vec<(f64, Cell)> = Vec::new();
            for (row, cell) in columns.cells[column].iter().enumerate() {
                let rows: Vec<_> =
                    neighbours(columns, *cell, !rightwards).map(|other| columns.position(other).1).collect();
                let middle = rows.iter().sum::<usize>() as f64 / rows.len() as f64;
                sorted.push((if rows.is_empty() { row as f64 } else { middle }, *cell));
            }
            sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
            columns.cells[column] = sorted.into_iter().map(|(_, cell)| cell).collect();
            columns.number();
        }
        let found = crossings(columns);
        if found < best.0 {
            best = (found, columns.cells.clone());
        }
    }
    columns.cells = best.1;
    columns.number();
}

/// The cells that a cell is connected to in the column to its right or left.
fn neighbours(columns: &Columns, cell: Cell, right: bool) -> impl Iterator<Item = Cell> {
    let pairs = columns.chains.iter().flat_map(|chain| chain.windows(2));
    pairs.filter_map(move |pair| match right {
        true => (pair[0] == cell).then_some(pair[1]),
        false => (pair[1] == cell).then_some(pair[0]),
    })
}

fn crossings(columns: &Columns) -> usize {
    let pairs = columns.chains.iter().flat_map(|chain| chain.windows(2));
    let lines: Vec<_> = pairs.map(|pair| (columns.position(pair[0]), columns.position(pair[1]).1)).collect();
    let crossed = |(index, ((column, from), to)): (usize, &((usize, usize), usize))| {
        let later = lines[index + 1..].iter().filter(|line| line.0.0 == *column);
        later.filter(|line| (line.0.1 < *from && line.1 > *to) || (line.0.1 > *from && line.1 < *to)).count()
    };
    lines.iter().enumerate().map(crossed).sum()
}
