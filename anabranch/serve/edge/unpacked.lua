-- The start of the packed message of a body, so that HAProxy finds the name of the graph in it.
--
-- DEFLATE in the formats of zlib and gzip (RFC 1950, 1951 and 1952), read no further than MOST
-- bytes, in bounded time whatever comes. Of what is malformed or cut, as much as can be read.

-- A tag, a length and the longest name of a graph; and what stands before a message of gRPC.
local MOST, PREFIX = 129, 5
-- Blocks that are read: one may be empty, and takes the making of its codes all the same.
local BLOCKS = 16
local ORDER = { 16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15 }

-- Bases and extra bits of the codes of lengths, from 257 on, and of distances.
local LENGTHS, DISTANCES = { [285] = { 258, 0 } }, {}
do
  local base = 3
  for code = 257, 284 do
    local extra = math.max(0, (code - 261) // 4)
    LENGTHS[code], base = { base, extra }, base + (1 << extra)
  end
  base = 1
  for code = 0, 29 do
    local extra = math.max(0, code // 2 - 1)
    DISTANCES[code], base = { base, extra }, base + (1 << extra)
  end
end

-- Return a function that takes bits, and one that leaves the rest of a byte.
local function bits_of(data, at)
  local bits, count = 0, 0
  local function take(wanted)
    while count < wanted do
      bits, count, at = bits | data:byte(at) << count, count + 8, at + 1
    end
    local found = bits & (1 << wanted) - 1
    bits, count = bits >> wanted, count - wanted
    return found
  end
  return take, function() bits, count = 0, 0 end
end

-- Return a function that takes a symbol of the Huffman code with lengths[first] to lengths[last].
local function symbols_of(take, lengths, first, last)
  local counts, at, symbols = {}, { 0 }, {}
  for size = 0, 15 do counts[size] = 0 end
  for symbol = first, last do counts[lengths[symbol]] = counts[lengths[symbol]] + 1 end
  for size = 1, 14 do at[size + 1] = at[size] + counts[size] end
  for symbol = first, last do
    local size = lengths[symbol]
    if size > 0 then symbols[at[size]], at[size] = symbol - first, at[size] + 1 end
  end
  return function()
    local code, start, index = 0, 0, 0
    for size = 1, 15 do
      code = code | take(1)
      if code - counts[size] < start then return symbols[index + code - start] end
      index, start, code = index + counts[size], start + counts[size] << 1, code << 1
    end
  end
end

local function fixed(take)
  local lengths = {}
  for symbol = 0, 287 do
    lengths[symbol] = symbol < 144 and 8 or symbol < 256 and 9 or symbol < 280 and 7 or 8
  end
  for symbol = 288, 317 do lengths[symbol] = 5 end
  return symbols_of(take, lengths, 0, 287), symbols_of(take, lengths, 288, 317)
end

local function dynamic(take)
  local literals, distances, count = take(5) + 257, take(5) + 1, take(4) + 4
  local sizes, lengths, filled = {}, {}, 0
  for symbol = 0, 18 do sizes[symbol] = 0 end
  for index = 1, count do sizes[ORDER[index]] = take(3) end
  local symbol = symbols_of(take, sizes, 0, 18)
  while filled < literals + distances do
    local size, times = symbol(), 1
    if size == 16 then
      size, times = lengths[filled - 1], 3 + take(2)
    elseif size == 17 then
      size, times = 0, 3 + take(3)
    elseif size == 18 then
      size, times = 0, 11 + take(7)
    end
    for _ = 1, times do lengths[filled], filled = size, filled + 1 end
  end
  local last = literals + distances - 1
  return symbols_of(take, lengths, 0, literals - 1), symbols_of(take, lengths, literals, last)
end

local function copied(found, length, distance)
  for _ = 1, length do found[#found + 1] = found[#found + 1 - distance] or error("too far") end
end

local function packed_block(found, take, literal, distance)
  while #found < MOST do
    local symbol = literal()
    if symbol == 256 then return end
    if symbol < 256 then
      found[#found + 1] = string.char(symbol)
    else
      local length, far = LENGTHS[symbol], nil
      length = length[1] + take(length[2])
      far = DISTANCES[distance()]
      copied(found, length, far[1] + take(far[2]))
    end
  end
end

local function stored_block(found, take, align)
  align()
  local size = take(16)
  take(16)
  for _ = 1, math.min(size, MOST) do found[#found + 1] = string.char(take(8)) end
end

local function inflate(found, data, at)
  local take, align = bits_of(data, at)
  for _ = 1, BLOCKS do
    local last, kind = take(1), take(2)
    if kind == 0 then
      stored_block(found, take, align)
    else
      packed_block(found, take, (kind == 1 and fixed or dynamic)(take))
    end
    if last == 1 or #found >= MOST then return end
  end
end

-- Return where the packed data begin.
local function start_of(data)
  if data:sub(1, 3) ~= "\x1f\x8b\x08" then return 3 end
  local flags, at = data:byte(4), 11
  if flags & 4 > 0 then at = at + 2 + ("<I2"):unpack(data, at) end
  for _, flag in ipairs({ 8, 16 }) do
    if flags & flag > 0 then at = data:find("\0", at, true) + 1 end
  end
  return flags & 2 > 0 and at + 2 or at
end

core.register_fetches("unpacked", function(txn)
  -- A converter would be given a text, which ends with the first NUL.
  local data, found = txn.f:req_body():sub(PREFIX + 1), {}
  pcall(function() inflate(found, data, start_of(data)) end)
  return table.concat(found, "", 1, math.min(#found, MOST))
end)
