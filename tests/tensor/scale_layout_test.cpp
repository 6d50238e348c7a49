// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cstdint>
#include <set>
#include <vector>

#include <cull/tensor.hpp>

namespace {

using cull::errc;
using cull::linear;
using cull::tiled_128x4;
using bytes = std::vector<std::uint8_t>;

struct shape {
  std::int64_t rows, blocks;
};
shape const shapes[] = {{1, 1},   {7, 3},    {31, 4},  {33, 5},   {127, 9},  {128, 4},
                        {129, 1}, {200, 17}, {257, 6}, {384, 12}, {256, 32}, {390, 53}};

static_assert(tiled_128x4::size(300, 6) == 3072 && tiled_128x4::offset(299, 5, 6) == 2741);
static_assert(linear::size(300, 6) == 1800 && linear::offset(299, 5, 6) == 1799);

/// Walks the tiles in the order of their bytes and calls `f(row, block, position)`, padding included.
template <class F>
void walk_tiles(shape s, F f) {
  std::int64_t position = 0;
  for (std::int64_t row_tile = 0; row_tile < s.rows; row_tile += 128) {
    for (std::int64_t block_tile = 0; block_tile < s.blocks; block_tile += 4) {
      for (std::int64_t lane = row_tile; lane < row_tile + 32; ++lane) {
        for (std::int64_t row = lane; row < lane + 128; row += 32) {
          for (std::int64_t block = block_tile; block < block_tile + 4; ++block) f(row, block, position++);
        }
      }
    }
  }
}

bytes some_scales(shape s) {
  bytes out;
  for (std::int64_t i = 0; i < s.rows * s.blocks; ++i) out.push_back(static_cast<std::uint8_t>(1 + i * 7 % 253));
  return out;
}

template <class From, class To>
bytes moved(bytes const& source, shape s) {
  bytes target(static_cast<std::size_t>(To::size(s.rows, s.blocks)), 0xaa);
  cull::relayout<From, To>(source, target, s.rows, s.blocks);
  return target;
}

template <class From, class To>
errc refused(std::size_t source_size, std::size_t target_size, shape s) {
  bytes const source(source_size, 1);
  bytes target(target_size, 0xaa);
  try {
    cull::relayout<From, To>(source, target, s.rows, s.blocks);
  } catch (cull::error const& e) {
    CHECK(target == bytes(target_size, 0xaa));
    return e.code();
  }
  return errc::cancelled;
}

}  // namespace

TEST_CASE("tiled_128x4: every offset is the place of its scale in a walk through the tiles") {
  for (auto const s : shapes) {
    std::int64_t wrong = 0, end = 0;
    walk_tiles(s, [&](std::int64_t row, std::int64_t block, std::int64_t position) {
      if (row < s.rows && block < s.blocks) wrong += tiled_128x4::offset(row, block, s.blocks) != position;
      end = position + 1;
    });
    CHECK(wrong == 0);
    CHECK(tiled_128x4::size(s.rows, s.blocks) == end);
  }
}

TEST_CASE("scale layouts: no two scales share a byte, and none lies outside") {
  for (auto const s : shapes) {
    std::set<std::int64_t> tiled, plain;
    for (std::int64_t row = 0; row < s.rows; ++row) {
      for (std::int64_t block = 0; block < s.blocks; ++block) {
        tiled.insert(tiled_128x4::offset(row, block, s.blocks));
        plain.insert(linear::offset(row, block, s.blocks));
      }
    }
    CHECK(static_cast<std::int64_t>(tiled.size()) == s.rows * s.blocks);
    CHECK(*tiled.begin() == 0);
    CHECK(*tiled.rbegin() < tiled_128x4::size(s.rows, s.blocks));
    CHECK(static_cast<std::int64_t>(plain.size()) == s.rows * s.blocks);
    CHECK(*plain.rbegin() == linear::size(s.rows, s.blocks) - 1);
  }
}

TEST_CASE("relayout: both ways, padding zero whatever the target held") {
  for (auto const s : shapes) {
    auto const scales = some_scales(s);
    auto const tiled = moved<linear, tiled_128x4>(scales, s);
    std::int64_t wrong = 0;
    walk_tiles(s, [&](std::int64_t row, std::int64_t block, std::int64_t position) {
      bool const padding = row >= s.rows || block >= s.blocks;
      auto const expected = padding ? 0 : scales[static_cast<std::size_t>(row * s.blocks + block)];
      wrong += tiled[static_cast<std::size_t>(position)] != expected;
    });
    CHECK(wrong == 0);
    CHECK(moved<tiled_128x4, linear>(tiled, s) == scales);
    CHECK(moved<tiled_128x4, tiled_128x4>(tiled, s) == tiled);
    CHECK(moved<linear, linear>(scales, s) == scales);
  }
}

TEST_CASE("relayout: no rows, no bytes") {
  CHECK(tiled_128x4::size(0, 6) == 0);
  CHECK(moved<linear, tiled_128x4>({}, {0, 6}).empty());
}

TEST_CASE("relayout: a buffer of another size is refused and nothing is written") {
  shape const s{33, 5};
  CHECK(refused<linear, tiled_128x4>(165, 1024, s) == errc::cancelled);
  for (std::size_t const source : {164u, 166u, 0u, 1024u}) {
    CHECK(refused<linear, tiled_128x4>(source, 1024, s) == errc::shape_mismatch);
  }
  for (std::size_t const target : {1023u, 1025u, 512u, 165u}) {
    CHECK(refused<linear, tiled_128x4>(165, target, s) == errc::shape_mismatch);
  }
  CHECK(refused<tiled_128x4, linear>(1024, 164, s) == errc::shape_mismatch);
  CHECK(refused<tiled_128x4, linear>(165, 165, s) == errc::shape_mismatch);
}
