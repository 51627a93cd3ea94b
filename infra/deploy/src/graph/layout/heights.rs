//! How far down each cell is, so that lines are straight: columns are moved one after the other, each to the weighted
//! mean of what its neighbours want, as far as the order within the column allows.

use super::columns::{Cell, Columns};

/// Pixels between boxes of a column.
const ROW_GAP: f64 = 26.0;

/// Pixels that a line takes where it passes a column.
pub(super) const LANE_HEIGHT: f64 = 10.0;

/// Pixels between two lanes.
const LANE_GAP: f64 = 4.0;

/// How often the columns are moved, alternately rightwards and leftwards.
const SWEEPS: usize = 40;

/// The tops of all cells, by column and row. `blocks` are the heights of the blocks; `ports` is where each edge leaves
/// and enters, from the top of its block.
pub(super) fn assign(
    columns: &Columns,
    blocks: &[f64],
    edges: &[(usize, usize, bool)],
    ports: &[(f64, f64)],
) -> Vec<Vec<f64>> {
    let height = |cell: &Cell| cell.block().map_or(LANE_HEIGHT, |block| blocks[block]);
    let gap = |above: &Cell, below: &Cell| match (above.block(), below.block()) {
        (None, None) => LANE_GAP,
        _ => ROW_GAP,
    };
    // Every line between neighbouring columns: its ends, where it meets them, and how much it matters that it is
    // straight: more where it only passes, less for dead letters.
    let mut lines = Vec::new();
    for (edge, chain) in columns.chains.iter().enumerate() {
        for pair in chain.windows(2) {
            let from = if pair[0].block().is_some() { ports[edge].0 } else { LANE_HEIGHT / 2.0 };
            let to = if pair[1].block().is_some() { ports[edge].1 } else { LANE_HEIGHT / 2.0 };
            let lanes = pair.iter().filter(|cell| cell.block().is_none()).count();
            let weight = if edges[edge].2 { 1.0 } else { 4.0 } * [1.0, 2.0, 8.0][lanes];
            lines.push(((columns.position(pair[0]), from), (columns.position(pair[1]), to), weight));
        }
    }
    let mut tops: Vec<Vec<f64>> = Vec::new();
    for column in &columns.cells {
        let mut top = 0.0;
        let mut next = |cell: &Cell| {
            let here = top;
            top += height(cell) + ROW_GAP;
            here
        };
        tops.push(column.iter().map(&mut next).collect());
    }
    let count = columns.cells.len();
    for sweep in 0..SWEEPS {
        for step in 0..count {
            let column = if sweep % 2 == 0 { step } else { count - 1 - step };
            let cells = &columns.cells[column];
            // The weighted mean of the heights at which each cell's lines would be straight.
            let mut wanted: Vec<_> = tops[column].iter().map(|top| (top * 0.01, 0.01)).collect();
            for ((from, out), (to, into), weight) in &lines {
                if from.0 == column {
                    wanted[from.1].0 += weight * (tops[to.0][to.1] + into - out);
                    wanted[from.1].1 += weight;
                } else if to.0 == column {
                    wanted[to.1].0 += weight * (tops[from.0][from.1] + out - into);
                    wanted[to.1].1 += weight;
                }
            }
            // The height of all that is above each cell, which is subtracted so that only the order remains.
            let mut above = 0.0;
            let mut room = Vec::new();
            for (row, cell) in cells.iter().enumerate() {
                if row > 0 {
                    above += height(&cells[row - 1]) + gap(&cells[row - 1], cell);
                }
                room.push(above);
            }
            let wanted = wanted.iter().zip(&room).map(|((sum, weight), room)| (sum / weight - room, *weight)).collect();
            for ((top, wanted), room) in tops[column].iter_mut().zip(ordered(wanted)).zip(&room) {
                *top = wanted + room;
            }
        }
    }
    let highest = tops.iter().flatten().copied().fold(f64::MAX, f64::min);
    tops.iter_mut().flatten().for_each(|top| *top -= highest);
    tops
}

/// The ascending values that are nearest to these, by weighted squares: pool adjacent violators.
fn ordered(wanted: Vec<(f64, f64)>) -> Vec<f64> {
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    for (value, weight) in wanted {
        pools.push((value, weight, 1));
        while let [.., before, last] = &pools[..]
            && before.0 > last.0
        {
            let weight = before.1 + last.1;
            let pool = ((before.0 * before.1 + last.0 * last.1) / weight, weight, before.2 + last.2);
            pools.truncate(pools.len() - 2);
            pools.push(pool);
        }
    }
    pools.into_iter().flat_map(|(value, _, count)| std::iter::repeat_n(value, count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_order_meets_in_the_middle() {
        assert_eq!(ordered(vec![(1.0, 1.0), (2.0, 1.0)]), [1.0, 2.0]);
        assert_eq!(ordered(vec![(3.0, 1.0), (1.0, 1.0), (5.0, 1.0)]), [2.0, 2.0, 5.0]);
        assert_eq!(ordered(vec![(4.0, 3.0), (0.0, 1.0)]), [3.0, 3.0]);
    }
}
