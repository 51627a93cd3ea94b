-- Wrapped Pub/Sub pushes of 15-word texts, 500 different ones in turn.
local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local function base64(text)
  local out = {}
  for i = 1, #text - #text % 3, 3 do
    local a, b, c = text:byte(i, i + 2)
    local n = a * 65536 + b * 256 + c
    for shift = 18, 0, -6 do
      local digit = math.floor(n / 2 ^ shift) % 64
      out[#out + 1] = alphabet:sub(digit + 1, digit + 1)
    end
  end
  return table.concat(out)
end

local words = { "work", "message", "cloud", "model", "the", "of", "queue", "ticket", "invoice", "app", "crash", "rust",
  "fast", "search", "city", "river" }
local bodies = {}
math.randomseed(7)
for i = 1, 500 do
  local text = {}
  for j = 1, 15 do text[j] = words[math.random(#words)] end
  text = table.concat(text, " ")
  text = text .. string.rep(" ", (3 - #text % 3) % 3)
  bodies[i] = '{"message":{"messageId":"' .. i .. '","data":"' .. base64(text) .. '"}}'
end

wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
local n = 0
request = function()
  n = n + 1
  return wrk.format(nil, "/", nil, bodies[n % 500 + 1])
end
