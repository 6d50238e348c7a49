// SPDX-License-Identifier: Apache-2.0
// What calibration takes from the heap beside hidden states, counted as the program counts it: bounded by a batch, the longest
// sequence and the threads, whatever the number of sequences.
#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <thread>
#include <vector>

#include <counted_heap.hpp>
#include <engine/calibrate.hpp>
#include <engine/fixture.hpp>
#include <engine/states.hpp>

namespace scratch_tests {
namespace {

constexpr std::int64_t longest = 96;

/// Sequences of `longest` tokens, all the same, so that more of them ask the same of a batch.
std::vector<engine::sequence> long_ones(int count) {
  std::vector<engine::sequence> out;
  for (int s = 0; s < count; ++s) {
    engine::sequence each{.id = std::to_string(s), .domain = "all", .ids = {}, .weights = {}};
    for (std::int64_t t = 0; t < longest; ++t) each.ids.push_back(static_cast<int>((t * t * 7 + t) % 256));
    out.push_back(std::move(each));
  }
  return out;
}

engine::calibration run(int sequences, engine::calibration_options options, int threads = 2) {
  options.heap = program::heap();
  return engine::calibrate(fixture::model(), cull::on_cpu{threads}, long_ones(sequences), options);
}

/// What the shapes of tiny-glm ask for at most, in bytes: f32 unless said.
struct most_wanted {
  static constexpr std::int64_t hidden = 128, experts = 64, k = 8, dense = 256;
  static constexpr std::int64_t heads = 4, query_rank = 64, query = 48, latent = 32, key = 48, value = 32, index_heads = 8,
                                index_key = 32;
  static constexpr std::int64_t panel = 4 * 1040;  // a token of a kernel's panel: a chunk of columns and a line

  /// Of a token of a batch: what attention and the block around the experts hold, as if it were all at a time.
  static constexpr std::int64_t token() {
    auto const attention = 4 * (2 * query_rank + heads * (query + key + latent + value) + key + (index_heads + 1) * index_key);
    auto const collector = 4 * (experts + k * hidden + hidden) + k * (4 + 4 + 8 + 16) + 8;
    auto const states = 4 * 6 * hidden;  // normed, before and behind attention and experts, MTP's two halves
    auto const place = 128;              // and the angles of its position
    return attention + collector + states + place;
  }
  /// Of a thread: an expert that all tokens chose, sums of 128 tokens for rows of a product, one head's absorbed queries in f64.
  static constexpr std::int64_t thread(std::int64_t batch) {
    auto const expert = (batch + 32) * (2 * panel + 4 * 2 * dense);
    return expert + 4 * 128 * 2 * dense + 32 * panel + 8 * batch * latent;
  }
  /// Of an open sequence: keys in vectors that grow by doubling, and sums at every expert.
  static constexpr std::int64_t sequence() { return longest * 3 * 4 * (key + index_key) + experts * 1024; }
  /// Views of a layer's weights.
  static constexpr std::int64_t views() { return experts * 3 * 256; }

  static constexpr std::int64_t bytes(std::int64_t batch, std::int64_t threads) {
    return batch * token() + threads * (thread(batch) + program::heap_slack) + (batch / longest + 2) * sequence() + views();
  }
};

}  // namespace
}  // namespace scratch_tests

using namespace scratch_tests;

TEST_CASE("scratch: counted is what new gives and delete takes, of all threads") {
  auto const before = program::heap()->begin();
  auto several = std::make_unique<std::vector<char>[]>(3);
  several[0].resize(1'000'000);
  std::thread{[&] { several[1].resize(2'000'000); }}.join();
  struct alignas(256) wide {
    char bytes[512];
  };
  std::vector<wide>(1000);  // half a megabyte, gone at once
  several[0] = std::vector<char>{};
  std::thread{[&] { several[2].resize(500'000); }}.join();
  auto const most = program::heap()->most() - before, left = program::heap()->begin() - before;
  CHECK(std::abs(most - 3'512'000) < 4 * program::heap_slack);
  CHECK(std::abs(left - 2'500'000) < 4 * program::heap_slack);
}

TEST_CASE("scratch: bounded by shapes of a batch") {
  for (int const threads : {1, 2}) {
    for (std::int64_t const batch : {1, 64, 512}) {
      auto const result = run(8, {.batch_tokens = batch}, threads);
      CAPTURE(threads);
      CAPTURE(batch);
      MESSAGE(threads << " threads, batches of " << batch << ": " << result.scratch_bytes << " of "
                      << most_wanted::bytes(batch, threads));
      CHECK(result.scratch_bytes <= most_wanted::bytes(batch, threads));
      // The outputs of the experts chosen are in it.
      CHECK(result.scratch_bytes >= batch * 4 * most_wanted::k * most_wanted::hidden);
    }
  }
}

TEST_CASE("scratch: more sequences take no more") {
  for (engine::calibration_options const& options :
       {engine::calibration_options{.batch_tokens = 64}, engine::calibration_options{.batch_tokens = 64, .index_topk = 16},
        engine::calibration_options{.batch_tokens = 64, .leave_one_out = true},
        engine::calibration_options{.batch_tokens = 64, .sequential = engine::sequential_pruning{{42, 1}, "reap"}}}) {
    auto const few = run(4, options, 1), many = run(24, options, 1);  // of two threads it is chance what they hold together
    MESSAGE(few.scratch_bytes << " for 4 sequences, " << many.scratch_bytes << " for 24");
    CHECK(many.scratch_bytes <= few.scratch_bytes + 2 * program::heap_slack);
    CHECK(many.state_bytes == 6 * few.state_bytes);
  }
}

TEST_CASE("scratch: states, scratch, observation and lists are all there is") {
  for (bool const sequential : {false, true}) {
    engine::calibration_options options{.batch_tokens = 64, .index_topk = 16};
    if (sequential) options.sequential = {{42, 1}, "reap"};
    run(2, options);  // what is made once: threads, the model's digest
    engine::heap_counter& heap = *program::heap();
    auto const before = heap.begin();
    std::int64_t most = 0;
    options.progress = [&](auto, auto, auto) { most = std::max(most, heap.most()); };  // a rise begins anew
    auto const result = run(24, options);
    auto const rows = 24 * longest, drafts = 24 * (longest - 1), picked = 24 * (longest - 16) * 16 * 4;
    auto const copies = 4 * 128 * (sequential ? rows + 2 * drafts : rows + drafts);
    CHECK(result.state_bytes >= copies);
    CHECK(result.state_bytes <= copies + picked + rows * 16);
    auto const cells = 5 * 64 * static_cast<std::int64_t>(sizeof(engine::observation::expert_cell));
    auto const sum = result.state_bytes + result.scratch_bytes + cells;
    MESSAGE((most - before) << " on the heap: " << result.state_bytes << " of states, " << result.scratch_bytes << " of scratch, "
                            << cells << " of the observation");
    CHECK(most - before <= sum + 200 * rows + 4 * program::heap_slack);
  }
}

TEST_CASE("scratch: without a counter it is not known") {
  auto const sequences = long_ones(2);
  auto const result = engine::calibrate(fixture::model(), cull::on_cpu{1}, sequences, {.index_topk = 16});
  CHECK(result.scratch_bytes == 0);
  CHECK(result.state_bytes > 0);
}
