# SPDX-License-Identifier: Apache-2.0
# The programs of examples/embed, as README shows them, are compiled and run.
foreach(name IN ITEMS engine_adds_saliency own_ideas prune_a_checkpoint plan_from_elsewhere)
  add_test(NAME embed.${name} COMMAND bash ${CMAKE_CURRENT_LIST_DIR}/run.sh $<TARGET_FILE:cull_embed_${name}> ${CMAKE_CURRENT_SOURCE_DIR}/data/tiny-glm/model)
endforeach()
if(TARGET cull_embed_stream_a_layer)
  add_test(NAME embed.stream_a_layer COMMAND cull_embed_stream_a_layer)
  set_tests_properties(embed.stream_a_layer PROPERTIES SKIP_RETURN_CODE 77)
endif()
