// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace engine {

/// splitmix64 (Steele, Lea, Flood 2014): the same stream on every machine. `stream` separates sequences under one seed.
class random_stream {
 public:
  explicit random_stream(std::uint64_t seed, std::uint64_t stream = 0) : state_(mix(seed) ^ mix(stream + 0x632be59bd9b4e019u)) {}

  std::uint64_t next() { return mix(state_ += 0x9e3779b97f4a7c15u); }
  /// Uniform in [0, 1), 53 bits.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }

 private:
  static std::uint64_t mix(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  std::uint64_t state_;
};

}  // namespace engine
