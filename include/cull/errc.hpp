// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// What went wrong, for programs. The text of `error::what()` is for people.
enum class errc : std::uint8_t {
  // values and shapes
  not_finite,         ///< NaN or infinity where a finite number is required
  out_of_range,       ///< a number outside its documented range
  shape_mismatch,     ///< shapes of arguments do not fit each other
  rejected_values,    ///< a saliency state has counted values that it could not add
  mismatched_states,  ///< two states of different layout, model or measures
  duplicate_data,     ///< the same calibration sequence would be counted twice
  // files
  io,              ///< the operating system refused; the text has its reason
  no_space,        ///< disk or quota is full
  not_found,       ///< file, directory or tensor is missing
  already_exists,  ///< the destination exists and would be overwritten
  not_regular,     ///< a pipe, device, directory or endless link in the place of a file
  outside_tree,    ///< a link that leaves the model's directory
  same_tree,       ///< the output would lie in the input, or be it
  // JSON
  json_syntax,    ///< the text is not JSON
  json_trailing,  ///< something follows the JSON text
  json_depth,     ///< nested deeper than the format can need
  bad_utf8,       ///< bytes that are no UTF-8
  duplicate_key,  ///< a key, as decoded, is given twice
  bad_integer,    ///< something else where an integer without sign is required
  integer_range,  ///< an integer beyond 2^63 - 1
  // a safetensors file
  too_short,          ///< no room for the length of a header
  not_safetensors,    ///< the file is something else, and is told what
  header_empty,       ///< a header of no bytes
  header_too_large,   ///< a header of more than 100,000,000 bytes
  header_past_end,    ///< a header longer than the file
  header_not_object,  ///< the header does not begin with '{'
  bad_entry,          ///< a tensor described by something else than an object
  missing_field,      ///< a tensor without dtype, shape or data_offsets
  unknown_field,      ///< a tensor with a field that might change its meaning
  unknown_dtype,      ///< an element type that the format does not know
  bad_shape,          ///< shape or data_offsets are not the lists that they must be
  rank_too_large,     ///< more than 64 dimensions
  bad_name,           ///< a name with NUL, too long, or reserved
  bad_metadata,       ///< `__metadata__` is not an object of strings
  size_overflow,      ///< a shape of more bytes than a file can hold
  sub_byte,           ///< elements of less than a byte that do not fill bytes
  size_mismatch,      ///< the bytes of a tensor are not those of its shape
  offset_order,       ///< data_offsets run backwards
  hole,               ///< bytes between tensors that belong to none
  overlap,            ///< bytes that belong to two tensors
  truncated,          ///< the file ends before its tensors
  trailing_data,      ///< bytes behind the last tensor
  // a sharded model
  index_schema,      ///< the index is not an object with a 'weight_map' of file names
  bad_shard_name,    ///< not the plain name of a .safetensors file
  missing_shard,     ///< the index names a file that is not there
  missing_tensor,    ///< the index names a tensor that its file lacks
  wrong_shard,       ///< a tensor lies in another file than the index says
  unindexed_tensor,  ///< a file holds a tensor that the index omits
  duplicate_tensor,  ///< a tensor lies in two files
  expert_set,        ///< experts with gaps, beyond the count, spelled twice or incomplete
  // other files
  bad_config,       ///< config.json lacks a key or contradicts the tensors
  bad_plan,         ///< a plan that does not fit the model
  bad_observation,  ///< an observation file that does not hold what it must
  bad_sequence,     ///< a calibration or evaluation sequence that cannot be used
  bad_checksum,     ///< a file whose content is not what its own checksum says
  // models
  unsupported_model,   ///< no family descriptor fits
  unsupported_format,  ///< a tensor storage that is not known
  incomplete_expert,   ///< an expert lacks one of its tensors
  // devices
  device,  ///< a device or its driver refused; the text has its reason
  // verification and control
  verification_failed,  ///< the written checkpoint is not what the plan says
  source_changed,       ///< the source was modified while it was read
  cancelled,            ///< stopped on request; what was written can be resumed or is removed
};

namespace detail {

// clang-format off
inline constexpr std::array<std::string_view, 62> errc_names{
    "not_finite", "out_of_range", "shape_mismatch", "rejected_values", "mismatched_states", "duplicate_data",
    "io", "no_space", "not_found", "already_exists", "not_regular", "outside_tree", "same_tree", "json_syntax",
    "json_trailing", "json_depth", "bad_utf8", "duplicate_key", "bad_integer", "integer_range", "too_short",
    "not_safetensors", "header_empty", "header_too_large", "header_past_end", "header_not_object", "bad_entry",
    "missing_field", "unknown_field", "unknown_dtype", "bad_shape", "rank_too_large", "bad_name", "bad_metadata",
    "size_overflow", "sub_byte", "size_mismatch", "offset_order", "hole", "overlap", "truncated", "trailing_data",
    "index_schema", "bad_shard_name", "missing_shard", "missing_tensor", "wrong_shard", "unindexed_tensor",
    "duplicate_tensor", "expert_set", "bad_config", "bad_plan", "bad_observation", "bad_sequence", "bad_checksum",
    "unsupported_model", "unsupported_format", "incomplete_expert", "device", "verification_failed",
    "source_changed", "cancelled"};
// clang-format on
static_assert(errc_names.size() == static_cast<std::size_t>(errc::cancelled) + 1);

}  // namespace detail

/// The code as programs print it: "header_past_end".
constexpr std::string_view name(errc code) { return detail::errc_names[static_cast<std::size_t>(code)]; }

CULL_NAMESPACE_END
