-- Health of a BaselinePolicy, for Argo CD. docs/gitops.md says how to install it.
local progressing = { status = "Progressing", message = "The operator has not looked at this BaselinePolicy yet" }
if obj.metadata.deletionTimestamp ~= nil then
  progressing.message = "Being deleted"
  return progressing
end
if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return progressing
end
for _, condition in ipairs(obj.status.conditions or {}) do
  if condition.type == "Stalled" and condition.status == "True" then
    return { status = "Degraded", message = condition.message }
  end
  if condition.type == "Ready" then
    if condition.status == "True" then
      return { status = "Healthy", message = condition.message }
    end
    progressing.message = condition.message
  end
end
return progressing
