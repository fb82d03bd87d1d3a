"use strict";
// Drawing: the field's arrays as textures and uniform buffers, and its shader, field.glsl.
// `scene` is written by nerf_jax/app/page/__init__.py. This file comes before page.js.

const scene = JSON.parse(document.getElementById("scene").textContent);
const canvas = document.getElementById("canvas");

const FRAME_MS = 33;    // of a frame in motion, as long as it has LEAST_SIDE pixels
const LEAST_SIDE = 64;  // of the shorter side of such a frame
const STRIP_MS = 80;    // of a strip of the sharp picture

const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

// ---- the arrays of the page

async function unpack() {
  const text = atob(element("content").textContent);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const content = await new Response(stream).arrayBuffer();
  return (name) => {
    const [start, length] = scene.sections[name];
    return content.slice(start, start + length);
  };
}

// The table as rows of texels: half floats from their two planes of bytes, or 8 bits.
function tableOf(buffer) {
  const bytes = new Uint8Array(buffer), size = scene.row * Math.ceil(scene.numTexels / scene.row);
  const Kind = scene.bits === 16 ? Uint16Array : Int8Array;
  const table = new Kind(size * scene.numFeatures);
  if (scene.bits === 8) {
    table.set(new Int8Array(buffer));
  } else {
    const half = bytes.length / 2;
    for (let i = 0; i < half; i++) table[i] = bytes[i] | (bytes[half + i] << 8);
  }
  return table;
}

// The number of cells from each to the nearest occupied one, diagonals counting 1: two sweeps of
// the grid, with a border around it.
function distancesOf(buffer) {
  const n = scene.cells, side = n + 2, bits = new Uint8Array(buffer);
  const padded = new Uint8Array(side ** 3).fill(255);
  const index = (x, y, z) => (z * side + y) * side + x;
  for (let z = 0, i = 0; z < n; z++)
    for (let y = 0; y < n; y++)
      for (let x = 0; x < n; x++, i++)
        if (bits[i >> 3] & (128 >> (i & 7))) padded[index(x + 1, y + 1, z + 1)] = 0;
  const before = [];
  for (let z = -1; z <= 1; z++)
    for (let y = -1; y <= 1; y++)
      for (let x = -1; x <= 1; x++) if (index(x, y, z) < 0) before.push(index(x, y, z));
  const sweep = (sign) => {
    const order = (k) => (sign > 0 ? k : n + 1 - k);
    for (let z = 1; z <= n; z++)
      for (let y = 1; y <= n; y++)
        for (let x = 1; x <= n; x++) {
          const i = index(order(x), order(y), order(z));
          let least = padded[i];
          if (least === 0) continue;
          for (const offset of before) least = Math.min(least, padded[i + sign * offset] + 1);
          padded[i] = least;
        }
  };
  sweep(1);
  sweep(-1);
  const found = new Uint8Array(n ** 3);
  for (let z = 0, i = 0; z < n; z++)
    for (let y = 0; y < n; y++, i += n)
      found.set(padded.subarray(index(1, y + 1, z + 1), index(n + 1, y + 1, z + 1)), i);
  return found;
}

// ---- WebGL

const VERTEX = `#version 300 es
void main() { gl_Position = vec4(gl_VertexID == 1 ? 3 : -1, gl_VertexID == 2 ? 3 : -1, 0, 1); }`;

function compile(gl, section) {
  const program = gl.createProgram();
  const header = "#version 300 es\nprecision highp float;\nprecision highp int;\n";
  const source = document.getElementById("shader").textContent;
  const field = isSoftware(gl) ? inlined(source, section) : source;
  const sources = [
    [gl.VERTEX_SHADER, VERTEX],
    [gl.FRAGMENT_SHADER, `${header}${scene.constants}\n${field}`],
  ];
  const shaders = sources.map(([kind, source]) => {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
    return shader;
  });
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) {
    throw new Error(gl.getShaderInfoLog(shaders[1]) || gl.getProgramInfoLog(program));
  }
  gl.useProgram(program);
  return program;
}

// Whether the processor draws, and not a GPU.
function isSoftware(gl) {
  const info = gl.getExtension("WEBGL_debug_renderer_info");
  const name = gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER);
  return /swiftshader|llvmpipe|softpipe|software|basic render/i.test(name);
}

// The source with the networks as constants and the loops over them written out: a processor, for
// which every read of a buffer is costly, draws three times faster.
function inlined(source, section) {
  const defines = scene.constants.matchAll(/^#define (\w+) (\w+)$/gm);
  const defined = Object.fromEntries(Array.from(defines, ([, name, value]) => [name, value]));
  const number = (word) => Number(defined[word.trim()] ?? word);
  const productOf = (term) => term.split("*").reduce((product, word) => product * number(word), 1);
  const valueOf = (sum) => sum.split("+").reduce((total, term) => total + productOf(term), 0);
  const columns = { vec4: 1, mat2x4: 2, mat3x4: 3, mat4: 4 };
  const constants = {};
  const block = /layout\(std140\) uniform (\w+)Network \{([^}]*)\};/g;
  source = source.replace(block, (_, name, members) => {
    const numbers = new Float32Array(section(name.toLowerCase()));
    let at = 0;
    for (let [, type, member, length] of members.matchAll(/(\w+) (\w+)(?:\[([^\]]*)\])?;/g)) {
      type = defined[type] ?? type;
      constants[member] = Array.from({ length: length ? valueOf(length) : 1 }, () => {
        const own = numbers.subarray(at, (at += 4 * columns[type]));
        return `${type}(${Array.from(own, (x) => x.toExponential(8))})`;
      });
    }
    return "";
  });
  source = unrolled(source, number);
  for (const [name, values] of Object.entries(constants)) {
    const use = RegExp(`\\b${name}\\b(?:\\[([^\\]]*)\\])?`, "g");
    source = source.replace(use, (_, index) => values[index ? valueOf(index) : 0]);
  }
  return source;
}

// The source with the loops `for (int i = 0; i < SIZE; i++)` written out, where the size is known.
function unrolled(source, number) {
  const loop = /for \(int (\w+) = 0; \1 < (\w+); \1\+\+\) /g;
  for (let found; (found = loop.exec(source)); ) {
    const [head, index, size] = found, start = loop.lastIndex;
    if (Number.isNaN(number(size))) continue;
    let end = start, depth = 0;
    do {
      if ("({".includes(source[end])) depth++;
      if (")}".includes(source[end])) depth--;
    } while (!(";}".includes(source[end++]) && depth === 0));
    const body = source.slice(start, end), word = RegExp(`\\b${index}\\b`, "g");
    const bodies = Array.from({ length: number(size) }, (_, i) => body.replace(word, i));
    source = source.slice(0, found.index) + bodies.join("\n") + source.slice(end);
    loop.lastIndex = found.index;
  }
  return source;
}

function upload(gl, program, section) {
  const locate = (name) => gl.getUniformLocation(program, name);
  let unit = 0;
  const bind = (name, target) => {
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(target, gl.createTexture());
    gl.texParameteri(target, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(target, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    gl.uniform1i(locate(name), unit++);
  };
  const flat = (name, format, width, height, channels, type, content) => {
    bind(name, gl.TEXTURE_2D);
    gl.texImage2D(gl.TEXTURE_2D, 0, format, width, height, 0, channels, type, content);
  };
  gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  const half = scene.bits === 16, rows = Math.ceil(scene.numTexels / scene.row);
  const channels = [gl.RED, gl.RG, gl.RGB, gl.RGBA][scene.numFeatures - 1];
  const halves = [gl.R16F, gl.RG16F, gl.RGB16F, gl.RGBA16F];
  const bytes = [gl.R8_SNORM, gl.RG8_SNORM, gl.RGB8_SNORM, gl.RGBA8_SNORM];
  const format = (half ? halves : bytes)[scene.numFeatures - 1];
  const table = tableOf(section("table")), n = scene.cells;
  flat("table", format, scene.row, rows, channels, half ? gl.HALF_FLOAT : gl.BYTE, table);
  const steps = new Float32Array(section("steps"));
  flat("steps", gl.RG32F, scene.numSteps, 1, gl.RG, gl.FLOAT, steps);
  const colors = new Uint8Array(section("depthColors"));
  flat("depthColors", gl.RGB8, 256, 1, gl.RGB, gl.UNSIGNED_BYTE, colors);
  bind("distances", gl.TEXTURE_3D);
  const distances = distancesOf(section("occupied"));
  gl.texImage3D(gl.TEXTURE_3D, 0, gl.R8UI, n, n, n, 0, gl.RED_INTEGER, gl.UNSIGNED_BYTE, distances);
  for (const [binding, name] of ["density", "color", "environment"].entries()) {
    const content = section(name);
    if (!content.byteLength) continue;
    gl.bindBufferBase(gl.UNIFORM_BUFFER, binding, gl.createBuffer());
    gl.bufferData(gl.UNIFORM_BUFFER, content, gl.STATIC_DRAW);
    const network = `${name[0].toUpperCase()}${name.slice(1)}Network`;
    const block = gl.getUniformBlockIndex(program, network);
    if (block !== gl.INVALID_INDEX) gl.uniformBlockBinding(program, block, binding);
  }
  gl.uniform1i(locate("numSteps"), scene.numSteps);
  gl.uniform2fv(locate("depthRange"), scene.depthRange);
  gl.activeTexture(gl.TEXTURE0 + unit);  // for the coarse picture
  return locate;
}

function checkLimits(gl) {
  const networks = ["density", "color", "environment"].map((name) => scene.sections[name][1]);
  const need = [
    ["MAX_TEXTURE_SIZE", Math.max(scene.row, Math.ceil(scene.numTexels / scene.row))],
    ["MAX_3D_TEXTURE_SIZE", scene.cells],
    ["MAX_UNIFORM_BLOCK_SIZE", Math.max(...networks)],
  ];
  for (const [name, size] of need) {
    const most = gl.getParameter(gl[name]);
    if (size > most) throw new Error(`${name} is ${most}, and this scene needs ${size}`);
  }
}

// ---- drawing: coarse in motion, sharp strip by strip when still

function painter(gl, locate) {
  const coarse = gl.createFramebuffer();
  let texture = null, size = [0, 0];
  let rate = 100, pending = null;  // pixels a millisecond; the drawing that is not done yet

  function resize() {
    const ratio = Math.min(devicePixelRatio, 2);
    const shown = [canvas.clientWidth, canvas.clientHeight];
    size = shown.map((side) => Math.max(1, Math.round(side * ratio)));
    if (texture && canvas.width === size[0] && canvas.height === size[1]) return;
    [canvas.width, canvas.height] = size;
    gl.deleteTexture(texture);
    texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA8, size[0] + 1, size[1] + 1);
    gl.bindFramebuffer(gl.FRAMEBUFFER, coarse);
    const target = gl.COLOR_ATTACHMENT0;
    gl.framebufferTexture2D(gl.FRAMEBUFFER, target, gl.TEXTURE_2D, texture, 0);
  }

  // Rows of an image of the camera from the top, in which the whole photo is; `margin`: of pixels
  // beyond it to the right and above.
  function draw(camera, [width, height], first, rows, margin = 0) {
    const factor = Math.min(width / scene.size[0], height / scene.size[1]);
    const focal = scaled(camera.focal, factor);
    const offset = camera.principal.map((at, axis) => factor * (at - scene.size[axis] / 2));
    const center = [width / 2 + offset[0], height / 2 + offset[1]];
    const pose = [camera.right, camera.up, camera.back, camera.position].flat();
    gl.uniformMatrix4x3fv(locate("worldFromCamera"), false, pose);
    gl.uniform4f(locate("lens"), ...focal, ...center);
    gl.uniform2f(locate("bounds"), camera.near, camera.far);
    gl.uniform1f(locate("height"), height);
    gl.uniform1i(locate("showDepth"), camera.depth);
    gl.viewport(0, 0, width + margin, height + margin);
    gl.enable(gl.SCISSOR_TEST);
    gl.scissor(0, height - first - rows, width + margin, rows + margin);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    gl.disable(gl.SCISSOR_TEST);
    const sync = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    pending = { sync, start: performance.now(), pixels: width * rows };
    gl.flush();
  }

  return {
    resize,
    // Whether the last drawing is done; then the speed of this machine is known better.
    ready() {
      if (!pending) return true;
      if (gl.clientWaitSync(pending.sync, 0, 0) === gl.TIMEOUT_EXPIRED) return false;
      const measured = pending.pixels / Math.max(performance.now() - pending.start, 0.5);
      rate = Math.sqrt(rate * measured);
      gl.deleteSync(pending.sync);
      pending = null;
      return true;
    },
    drawCoarse(camera) {
      const least = Math.min(1, LEAST_SIDE / Math.min(...size));
      const share = clamp(Math.sqrt((rate * FRAME_MS) / (size[0] * size[1])), least, 1);
      const small = size.map((side) => Math.max(1, Math.round(side * (share > 0.9 ? 1 : share))));
      gl.bindFramebuffer(gl.FRAMEBUFFER, coarse);
      draw(camera, small, 0, small[1], 1);  // interpolation reads a pixel more
      gl.bindFramebuffer(gl.DRAW_FRAMEBUFFER, null);
      gl.blitFramebuffer(0, 0, ...small, 0, 0, ...size, gl.COLOR_BUFFER_BIT, gl.LINEAR);
    },
    // The next rows of the sharp picture after the first `done`; returns how many there are then.
    drawSharp(camera, done) {
      const pixels = Math.max(rate * STRIP_MS, LEAST_SIDE ** 2);  // not much less than the overhead
      const rows = Math.min(Math.ceil(pixels / size[0]), size[1] - done);
      gl.bindFramebuffer(gl.FRAMEBUFFER, null);
      draw(camera, size, done, rows);
      return done + rows;
    },
    isComplete: (done) => done >= size[1],
  };
}
