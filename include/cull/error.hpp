// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// What went wrong, for programs. The text of `error::what()` is for people.
enum class errc {
  // values and shapes
  not_finite,         ///< NaN or infinity where a finite number is required
  out_of_range,       ///< a number outside its documented range
  shape_mismatch,     ///< shapes of arguments do not fit each other
  rejected_values,    ///< a saliency state has counted values that it could not add
  mismatched_states,  ///< two states of different layout, model or measures
  duplicate_data,     ///< the same calibration sequence would be counted twice
  // files
  io,                 ///< the operating system refused; the text has its reason
  no_space,           ///< disk or quota is full
  not_found,          ///< file, directory or tensor is missing
  already_exists,     ///< the destination exists and would be overwritten
  not_safetensors,    ///< the file is something else
  bad_header,         ///< safetensors header breaks the format
  bad_json,           ///< JSON syntax, depth, duplicate key or wrong type
  bad_index,          ///< model.safetensors.index.json contradicts the shards
  bad_config,         ///< config.json lacks a key or contradicts the tensors
  bad_plan,           ///< a plan that does not fit the model
  bad_observation,    ///< an observation file that does not hold what it must
  bad_sequence,       ///< a calibration or evaluation sequence that cannot be used
  // models
  unsupported_model,  ///< no family descriptor fits
  unsupported_format, ///< a tensor storage that is not known
  incomplete_expert,  ///< an expert lacks one of its tensors
  // devices
  device,             ///< a device or its driver refused; the text has its reason
  // verification and control
  verification_failed,///< the written checkpoint is not what the plan says
  source_changed,     ///< the source was modified while it was read
  cancelled,          ///< stopped on request; what was written can be resumed or is removed
};

/// Where it went wrong; every field is optional.
struct error_location {
  std::string file = {};
  std::string tensor = {};
  std::optional<std::uint64_t> byte = {};
};

/// The base of everything that cull throws.
class error : public std::runtime_error {
 public:
  error(errc code, std::string const& message, error_location where = {})
      : std::runtime_error(compose(message, where)), code_(code), where_(std::move(where)) {}

  errc code() const noexcept { return code_; }
  error_location const& where() const noexcept { return where_; }

 private:
  static std::string printable(std::string_view text) {
    static constexpr char hex[] = "0123456789abcdef";
    std::string out;
    for (char const c : text) {
      auto const byte = static_cast<unsigned char>(c);
      if (byte >= 0x20 && byte != 0x7f) {
        out += c;
      } else {
        out += "\\x";
        out += hex[byte >> 4];
        out += hex[byte & 15];
      }
    }
    return out;
  }

  static std::string compose(std::string const& message, error_location const& where) {
    std::string out;
    if (!where.file.empty()) out += printable(where.file) + ": ";
    if (!where.tensor.empty()) out += "tensor '" + printable(where.tensor) + "': ";
    if (where.byte) out += "byte " + std::to_string(*where.byte) + ": ";
    return out + message;
  }

  errc code_;
  error_location where_;
};

CULL_NAMESPACE_END
