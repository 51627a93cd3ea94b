//! Where everything is drawn: the layers of Sugiyama, Tagawa and Toda, "Methods for Visual Understanding of
//! Hierarchical System Structures" (1981). Columns by the longest path, an order within them with few crossings,
//! heights that keep lines straight.

mod columns;
mod heights;

use super::model::{Edge, Graph};
use columns::Cell;
use heights::LANE_HEIGHT;

/// Pixels between columns, and between a topic and what stands beneath it.
const COLUMN_GAP: f64 = 46.0;
pub(super) const STACK_GAP: f64 = 22.0;

/// Most between the ends of two lines at one box.
const PORT_GAP: f64 = 16.0;

/// Pixels, from the left and from the top.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rect {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// The line of an edge.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum EdgePath {
    /// From left to right through pairs of points, in and out: between pairs it curves.
    Forward(Vec<(f64, f64)>),
    /// Out on the right, round beneath everything at this height, and in from the left.
    Back { from: (f64, f64), to: (f64, f64), beneath: f64 },
}

pub(super) struct Layout {
    /// As the nodes.
    pub(super) boxes: Vec<Rect>,
    /// As the edges.
    pub(super) paths: Vec<EdgePath>,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// A topic and what stands beneath it, or any other node alone.
struct Block {
    /// Each with its distance from the block's top.
    members: Vec<(usize, f64)>,
    size: (f64, f64),
}

/// Lays out nodes of these widths and heights.
pub(super) fn layout(graph: &Graph, sizes: &[(f64, f64)]) -> Layout {
    let blocks = blocks(graph, sizes);
    let mut home = vec![(0, 0.0); graph.nodes.len()];
    for (index, block) in blocks.iter().enumerate() {
        for (member, top) in &block.members {
            home[*member] = (index, top + sizes[*member].1 / 2.0);
        }
    }
    let ends: Vec<_> = graph.edges.iter().map(|edge| (home[edge.from].0, home[edge.to].0, edge.dead)).collect();
    let columns = columns::arrange(blocks.len(), &ends);

    let mut ports: Vec<(f64, f64)> = graph.edges.iter().map(|edge| (home[edge.from].1, home[edge.to].1)).collect();
    let block_heights: Vec<f64> = blocks.iter().map(|block| block.size.1).collect();
    let mut tops = heights::assign(&columns, &block_heights, &ends, &ports);
    // The ends of lines move apart in the order in which the lines come, and the boxes after them.
    for _ in 0..2 {
        ports = spread(graph, sizes, &home, &columns, &tops);
        tops = heights::assign(&columns, &block_heights, &ends, &ports);
    }

    let mut lefts = Vec::new();
    let mut right = 0.0;
    for column in &columns.cells {
        let width = column.iter().filter_map(|cell| cell.block()).map(|block| blocks[block].size.0).fold(0.0, f64::max);
        lefts.push((right, width));
        right += width + COLUMN_GAP;
    }
    let mut boxes = vec![Rect { x: 0.0, y: 0.0, width: 0.0, height: 0.0 }; graph.nodes.len()];
    let mut bottom: f64 = 0.0;
    for (block, position) in columns.positions() {
        let (x, width) = lefts[position.0];
        for (member, top) in &blocks[block].members {
            let y = tops[position.0][position.1] + top;
            boxes[*member] = Rect { x, y, width, height: sizes[*member].1 };
            bottom = bottom.max(y + sizes[*member].1);
        }
    }
    let mut height = bottom;
    let mut paths = Vec::new();
    for (index, edge) in graph.edges.iter().enumerate() {
        let block = |node: usize| tops_of(&columns, &tops, home[node].0);
        let from = (boxes[edge.from].x + boxes[edge.from].width, block(edge.from) + ports[index].0);
        let to = (boxes[edge.to].x, block(edge.to) + ports[index].1);
        if columns.back[index] {
            height += PORT_GAP;
            paths.push(EdgePath::Back { from, to, beneath: height });
            continue;
        }
        let mut points = vec![from];
        for (column, row) in columns.lane(index) {
            let (x, width) = lefts[column];
            let y = tops[column][row] + LANE_HEIGHT / 2.0;
            bottom = bottom.max(y);
            points.extend([(x, y), (x + width, y)]);
        }
        points.push(to);
        let alone =
            |node: usize, end: fn(&Edge) -> usize| graph.edges.iter().filter(|edge| end(edge) == node).count() == 1;
        straighten(&mut points, alone(edge.from, |edge| edge.from), alone(edge.to, |edge| edge.to));
        paths.push(EdgePath::Forward(points));
    }
    Layout { boxes, paths, width: (right - COLUMN_GAP).max(0.0), height: height.max(bottom) }
}

/// Takes small steps out of a line: between lanes, and at an end that is alone on its side of a box.
fn straighten(points: &mut [(f64, f64)], first_alone: bool, last_alone: bool) {
    const STEP: f64 = 12.0;
    let last = points.len() - 1;
    for index in 1..last.saturating_sub(1) {
        if (points[index].1 - points[index + 1].1).abs() < LANE_HEIGHT / 2.0 {
            points[index + 1].1 = points[index].1;
        }
    }
    if first_alone && (points[0].1 - points[1].1).abs() < STEP {
        points[0].1 = points[1].1;
    } else if last_alone && (points[last].1 - points[last - 1].1).abs() < STEP {
        points[last].1 = points[last - 1].1;
    }
}

fn blocks(graph: &Graph, sizes: &[(f64, f64)]) -> Vec<Block> {
    let mut blocks = Vec::new();
    for (root, node) in graph.nodes.iter().enumerate() {
        if node.beneath.is_some() {
            continue;
        }
        let beneath = (0..graph.nodes.len()).filter(|other| graph.nodes[*other].beneath == Some(root));
        let mut block = Block { members: Vec::new(), size: (0.0, -STACK_GAP) };
        for member in std::iter::once(root).chain(beneath) {
            let top = block.size.1 + STACK_GAP;
            block.members.push((member, top));
            block.size = (block.size.0.max(sizes[member].0), top + sizes[member].1);
        }
        blocks.push(block);
    }
    blocks
}

fn tops_of(columns: &columns::Columns, tops: &[Vec<f64>], block: usize) -> f64 {
    let (column, row) = columns.position(Cell::Block(block));
    tops[column][row]
}

/// Where each edge leaves and enters, from the top of the block: around the middle of the node's side, sorted by where
/// the line comes from or goes to.
fn spread(
    graph: &Graph,
    sizes: &[(f64, f64)],
    home: &[(usize, f64)],
    columns: &columns::Columns,
    tops: &[Vec<f64>],
) -> Vec<(f64, f64)> {
    let middle = |node: usize| tops_of(columns, tops, home[node].0) + home[node].1;
    let lane = |position: Option<&(usize, usize)>, other: usize| {
        position.map_or_else(|| middle(other), |(column, row)| tops[*column][*row] + LANE_HEIGHT / 2.0)
    };
    let mut ports = vec![(0.0, 0.0); graph.edges.len()];
    for (node, size) in sizes.iter().enumerate() {
        for outgoing in [true, false] {
            let mut ends: Vec<(f64, usize)> = Vec::new();
            for (index, edge) in graph.edges.iter().enumerate() {
                let lanes = columns.lane(index);
                if outgoing && edge.from == node {
                    ends.push((if columns.back[index] { f64::MAX } else { lane(lanes.first(), edge.to) }, index));
                } else if !outgoing && edge.to == node {
                    ends.push((if columns.back[index] { f64::MAX } else { lane(lanes.last(), edge.from) }, index));
                }
            }
            ends.sort_by(|a, b| a.0.total_cmp(&b.0));
            let count = ends.len();
            let gap = PORT_GAP.min((size.1 - 20.0) / count.max(1) as f64);
            for (port, (_, index)) in ends.into_iter().enumerate() {
                let offset = home[node].1 + (port as f64 - (count as f64 - 1.0) / 2.0) * gap;
                if outgoing {
                    ports[index].0 = offset;
                } else {
                    ports[index].1 = offset;
                }
            }
        }
    }
    ports
}
