// SPDX-License-Identifier: Apache-2.0
// For users: checkpoints on disk, observations and plans as files, apply and verify. Needs nlohmann/json and xxHash.
#pragma once

#include <cull/checkpoint/added_files.hpp>
#include <cull/checkpoint/apply.hpp>
#include <cull/checkpoint/audit.hpp>
#include <cull/checkpoint/byte_digest.hpp>
#include <cull/checkpoint/checkpoint.hpp>
#include <cull/checkpoint/checksums.hpp>
#include <cull/checkpoint/conversion.hpp>
#include <cull/checkpoint/conversion_verifier.hpp>
#include <cull/checkpoint/convert.hpp>
#include <cull/checkpoint/fit.hpp>
#include <cull/checkpoint/input_scales.hpp>
#include <cull/checkpoint/ledger.hpp>
#include <cull/checkpoint/observation_file.hpp>
#include <cull/checkpoint/open.hpp>
#include <cull/checkpoint/plan.hpp>
#include <cull/checkpoint/plan_file.hpp>
#include <cull/checkpoint/pruned_layout.hpp>
#include <cull/checkpoint/safetensors_file.hpp>
#include <cull/checkpoint/safetensors_writer.hpp>
#include <cull/checkpoint/serving_checks.hpp>
#include <cull/checkpoint/verify.hpp>
#include <cull/selection.hpp>
