// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/compare_experts.hpp>
#include <cull/checkpoint/compare_files.hpp>
#include <cull/checkpoint/conversion.hpp>
#include <cull/checkpoint/expert_tensors.hpp>
#include <cull/checkpoint/layer_reader.hpp>
#include <cull/checkpoint/manifest.hpp>
#include <cull/checkpoint/open.hpp>
#include <cull/checkpoint/output_layout.hpp>
#include <cull/checkpoint/verifier.hpp>
#include <cull/config.hpp>
#include <cull/numeric/bf16.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// Reads a converted checkpoint by the way models are opened, and computes what must be in it value by value.
class conversion_verifier {
 public:
  conversion_verifier(checkpoint const& source, expert_storage to, std::filesystem::path const& dir,
                      verify_options const& options)
      : source_(source), to_(to), dir_(dir), result_(open_written(source, dir)), options_(options) {}

  verify_report run() {
    check_manifest();
    check_kept_tensors();
    for (auto const& t : result_.tensors()) {
      bool const known = source_.find(t.name) != nullptr || is_expert_matrix(source_.family(), result_.place_of(t.name));
      if (!known) fail(t.name + ": must not be there");
    }
    if (result_.moe_layers() != source_.moe_layers() || result_.expert_counts() != source_.expert_counts()) {
      fail("config.json: layers or numbers of experts are not the source's");
    } else {
      for (int const layer : source_.moe_layers()) check_layer(layer);
    }
    return std::move(report_);
  }

 private:
  void fail(std::string what) { report_.failures.push_back(std::move(what)); }

  void check_manifest() {
    std::vector<written_file> files;
    for (auto const& entry : std::filesystem::recursive_directory_iterator{dir_}) {
      auto const file = entry.path().lexically_relative(dir_).string();
      if (!entry.is_directory() && file != manifest_file_name) files.push_back(digest_of(entry.path(), file));
    }
    report_.files = static_cast<std::int64_t>(files.size()) + 1;
    if (slurp(dir_ / manifest_file_name) != manifest_text({}, files)) {
      fail(std::string{manifest_file_name} +
           ": sizes and digests are not those of the files; something was changed after it was written");
    }
  }

  void check_kept_tensors() {
    for (auto const& t : source_.tensors()) {
      if (is_expert_matrix(source_.family(), source_.place_of(t.name))) continue;
      auto const* const found = result_.find(t.name);
      if (found == nullptr) {
        fail(t.name + ": is missing");
      } else if (found->type != t.type || found->shape != t.shape ||
                 !std::ranges::equal(source_.bytes(t), result_.bytes(*found))) {
        fail(t.name + ": differs from the source's");
      }
      count_tensor(t.bytes());
    }
  }

  void check_layer(int layer) {
    auto const a = source_.moe_layer(layer);
    auto const b = result_.moe_layer(layer);
    for (std::size_t e = 0; e < a.experts.size(); ++e) {
      if (options_.cancelled && options_.cancelled()) throw error{errc::cancelled, "stopped on request"};
      auto const where = result_.name_in(layer, "expert " + std::to_string(e));
      auto const& from = a.experts[e];
      std::vector<weight_matrix> entering{from.up};
      if (from.gate.rows() > 0) {
        entering.push_back(from.gate);
        check_matrix(where + " gate", from.gate, b.experts[e].gate, entering);
      }
      check_matrix(where + " up", from.up, b.experts[e].up, entering);
      check_matrix(where + " down", from.down, b.experts[e].down, {from.down});
    }
  }

  void check_matrix(std::string const& where, weight_matrix const& from, weight_matrix const& to,
                    std::vector<weight_matrix> const& sharing) {
    ++report_.expert_tensors;
    count_tensor(static_cast<std::uint64_t>(to.rows() * to.cols()));
    bool same = from.rows() == to.rows() && from.cols() == to.cols();
    switch (to_) {
      case expert_storage::bf16:
        same = same && same_values<bf16_format>(from, to, [](float v) { return bf16::encode(v).decode(); });
        break;
      case expert_storage::f32:
        same = same && same_values<f32_format>(from, to, [](float v) { return v; });
        break;
      case expert_storage::modelopt_nvfp4:
        same = same && same_nvfp4<modelopt>(from, to, sharing);
        break;
      case expert_storage::compressed_tensors_nvfp4:
        same = same && same_nvfp4<compressed_tensors>(from, to, sharing);
        break;
    }
    if (!same) fail(where + ": is not the source's in the format asked for");
  }

  void count_tensor(std::uint64_t bytes) {
    ++report_.tensors;
    report_.bytes += bytes;
    if (options_.progress) options_.progress(report_.bytes, std::max(report_.bytes, source_.ledger().bytes));
  }

  checkpoint const& source_;
  expert_storage to_;
  std::filesystem::path dir_;
  checkpoint result_;
  verify_options const& options_;
  verify_report report_;
};

}  // namespace detail

/// Compares a converted checkpoint with its source by other code than `convert`'s: every tensor that is not an expert's byte by
/// byte, every expert's value, code and scale computed one by one, the manifest. The report lists every difference; it counts an
/// expert's matrix as one tensor. Throws what opening either throws, and `errc::cancelled`.
inline verify_report find_conversion_differences(checkpoint const& source, expert_storage to, std::filesystem::path const& dir,
                                                 verify_options const& options = {}) {
  return detail::conversion_verifier{source, to, dir, options}.run();
}

CULL_NAMESPACE_END
