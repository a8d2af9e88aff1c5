//! Whole analyses of labelled pairs: `testdata/README.md` says where they come from, the `expect.json` of each what is
//! true about it.

mod case;
mod catalogue;
mod company;
mod cut;
mod decoys;
mod directions;
mod each;
mod edited;
mod evidence;
mod filters;
mod frames;
mod interrupted;
mod judge;
mod missed;
mod numbers;
mod prefix;
mod recount;
mod same_point;
mod sane;
mod silence;
mod steps;
mod swapped;
mod threads;
mod times;
mod truth;
mod variants;
mod witness;
