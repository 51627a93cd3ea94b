//! Whether any message can satisfy a set of expressions at once.
//!
//! Walks the alternatives (the disjunctive normal form) one at a time, each a list of literals, and decides each
//! exactly: a conjunction of literals is contradictory only where the literals of a single key contradict each other.

use super::expr::Expr;

/// Steps of the walk before giving up with "possible". Two filters of 256 bytes rarely need more than a thousand.
const MAX_STEPS: usize = 50_000;

pub(super) fn possible(exprs: &[&Expr]) -> bool {
    let mut open: Vec<(&Expr, bool)> = exprs.iter().map(|expr| (*expr, true)).collect();
    let mut budget = MAX_STEPS;
    search(&mut open, &mut Vec::new(), &mut budget)
}

/// Something that a message's one attribute must (`wanted`) or must not be.
#[derive(Clone, Copy)]
struct Literal<'e> {
    key: &'e str,
    test: Test<'e>,
    wanted: bool,
}

#[derive(Clone, Copy)]
enum Test<'e> {
    Present,
    Equal(&'e str),
    Prefix(&'e str),
}

/// Decomposes the open expressions, each with the truth value it must have, and leaves `open` and `literals` as it found
/// them.
fn search<'e>(open: &mut Vec<(&'e Expr, bool)>, literals: &mut Vec<Literal<'e>>, budget: &mut usize) -> bool {
    if *budget == 0 {
        return true;
    }
    *budget -= 1;
    let Some((expr, wanted)) = open.pop() else {
        return consistent(literals);
    };
    let found = match expr {
        Expr::Not(inner) => branch(open, literals, budget, &[(inner, !wanted)]),
        Expr::And(terms) if wanted => {
            let all: Vec<_> = terms.iter().map(|term| (term, true)).collect();
            branch(open, literals, budget, &all)
        }
        Expr::Or(terms) if !wanted => {
            let all: Vec<_> = terms.iter().map(|term| (term, false)).collect();
            branch(open, literals, budget, &all)
        }
        Expr::And(terms) | Expr::Or(terms) => {
            terms.iter().any(|term| branch(open, literals, budget, &[(term, wanted)]))
        }
        Expr::Has { key } => literal(open, literals, budget, key, Test::Present, wanted),
        Expr::Equals { key, value } => literal(open, literals, budget, key, Test::Equal(value), wanted),
        Expr::Differs { key, value } => literal(open, literals, budget, key, Test::Equal(value), !wanted),
        Expr::Prefix { key, prefix } => literal(open, literals, budget, key, Test::Prefix(prefix), wanted),
    };
    open.push((expr, wanted));
    found
}

fn branch<'e>(
    open: &mut Vec<(&'e Expr, bool)>,
    literals: &mut Vec<Literal<'e>>,
    budget: &mut usize,
    add: &[(&'e Expr, bool)],
) -> bool {
    let length = open.len();
    open.extend_from_slice(add);
    let found = search(open, literals, budget);
    open.truncate(length);
    found
}

fn literal<'e>(
    open: &mut Vec<(&'e Expr, bool)>,
    literals: &mut Vec<Literal<'e>>,
    budget: &mut usize,
    key: &'e str,
    test: Test<'e>,
    wanted: bool,
) -> bool {
    literals.push(Literal { key, test, wanted });
    // Stopping at the first contradiction keeps the walk short.
    let found = consistent(literals) && search(open, literals, budget);
    literals.pop();
    found
}

fn consistent(literals: &[Literal<'_>]) -> bool {
    literals.iter().enumerate().all(|(index, literal)| {
        let first = !literals[..index].iter().any(|earlier| earlier.key == literal.key);
        !first || key_consistent(literals, literal.key)
    })
}

/// Whether one attribute can meet all literals of its key, by being absent or by having some value.
fn key_consistent(literals: &[Literal<'_>], key: &str) -> bool {
    let of_key = || literals.iter().filter(|literal| literal.key == key);
    if of_key().all(|literal| !literal.wanted) {
        return true;
    }
    // The longest text that the value must begin with. Two wanted texts that differ fail against it below.
    let equal = of_key().find_map(|literal| match literal.test {
        Test::Equal(value) if literal.wanted => Some(value),
        _ => None,
    });
    let begins = equal.unwrap_or_else(|| {
        of_key()
            .filter_map(|literal| match literal.test {
                Test::Prefix(prefix) if literal.wanted => Some(prefix),
                _ => None,
            })
            .max_by_key(|prefix| prefix.len())
            .unwrap_or_default()
    });
    of_key().all(|literal| {
        let met = match literal.test {
            Test::Present => true,
            // Without a wanted value a longer one avoids every unwanted value.
            Test::Equal(value) => equal == Some(value),
            Test::Prefix(prefix) => begins.starts_with(prefix),
        };
        met == literal.wanted
    })
}
