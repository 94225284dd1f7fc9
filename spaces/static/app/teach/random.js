// The same random normal numbers as `numpy.random.default_rng(0).standard_normal`: O'Neill's PCG64
// and the ziggurat method of Marsaglia and Tsang with 256 layers, so that teaching gives the same
// result as in Python.

const MULTIPLIER = 0x2360ed051fc65da44385df649fccf645n;
const STATE = 35399562948360463058890781895381311971n; // of seed 0
const INCREMENT = 87136372517582989555478159403783844777n;

// The ziggurat: the right edges of its layers, from the top down; its tail begins at TAIL.
const TAIL = 3.654152885361009;
const AREA = 0.004928673233974655; // of each layer
const density = (x) => Math.exp(-0.5 * x * x);
const ENDS = new Float64Array(257);
ENDS[256] = AREA / density(TAIL);
ENDS[255] = TAIL;
for (let i = 254; i > 0; i--) ENDS[i] = Math.sqrt(-2 * Math.log(AREA / ENDS[i + 1] + density(ENDS[i + 1])));
// Layer 0 is the one with the tail: NumPy stores it first, with the widest edge.
const width = (step) => (step ? ENDS[step] : ENDS[256]);
const WIDTHS = Float64Array.from({length: 256}, (_, step) => width(step) / 2 ** 52);
const INSIDE = Float64Array.from({length: 256}, (_, step) => (2 ** 52 * (step ? ENDS[step - 1] : TAIL)) / width(step));
const HEIGHTS = Float64Array.from({length: 256}, (_, step) => (step ? density(ENDS[step]) : 1));

export class Normals {
    constructor(state = STATE) {
        this.state = state;
    }

    clone() {
        return new Normals(this.state);
    }

    draw(count) {
        return Float64Array.from({length: count}, () => this.#normal());
    }

    #bits() {
        this.state = BigInt.asUintN(128, this.state * MULTIPLIER + INCREMENT);
        const mixed = BigInt.asUintN(64, (this.state >> 64n) ^ this.state);
        const turn = this.state >> 122n;
        return BigInt.asUintN(64, (mixed >> turn) | (mixed << (64n - turn)));
    }

    #uniform() {
        return Number(this.#bits() >> 11n) * 2 ** -53;
    }

    #normal() {
        for (;;) {
            const bits = this.#bits();
            const low = Number(bits & 0x1ffn);
            const [step, sign] = [low & 0xff, low & 0x100 ? -1 : 1];
            const size = Number((bits >> 9n) & 0xfffffffffffffn);
            const x = size * WIDTHS[step];
            if (size < INSIDE[step]) return sign * x;
            if (step) {
                const [above, below] = [HEIGHTS[step - 1], HEIGHTS[step]];
                if ((above - below) * this.#uniform() + below < density(x)) return sign * x;
            } else {
                for (;;) {
                    const far = -Math.log1p(-this.#uniform()) / TAIL;
                    const high = -Math.log1p(-this.#uniform());
                    if (2 * high > far * far) return (Math.floor(size / 256) & 1 ? -1 : 1) * (TAIL + far);
                }
            }
        }
    }
}
